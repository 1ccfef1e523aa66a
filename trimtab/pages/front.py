"""The first of the reports' pages: every model, what was ruled of it last, and where to read more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trimtab.ledger import Entry, Ledger
from trimtab.pages.colours import ACTION_COLOURS
from trimtab.pages.document import document, text, write_document
from trimtab.records import Release, Retraining, Ruling, Validation
from trimtab.settings import Settings

PICTURE = "window.png"
"""The picture of a window, beside its report."""
SHOWN_RULINGS = 13
"""How many of a model's rulings the page shows: the newest, and twelve before it."""

_LOOKED_BACK = 100
"""Validations in which that of the last retraining is looked for."""

_STYLE = """
header{display:flex;flex-wrap:wrap;gap:4px 24px;align-items:baseline;justify-content:space-between}
nav a,.links a{margin-right:16px;white-space:nowrap}.links{font-size:14px;margin:8px 0 0}
h2{font-size:19px}h2 .soft{font-size:14px;font-weight:400;margin-left:8px}
.glance a{display:inline-block;margin:8px 20px 0 0;text-decoration:none}
.said{margin:6px 0;overflow-wrap:anywhere}
.halt{border-left:4px solid #b5332a;padding-left:10px}.halt .links{margin-left:8px}
.action{display:inline-block;border-radius:10px;padding:0 10px;font-weight:600;font-size:12px;line-height:20px;
color:#fff}
h2 .action{font-size:14px;line-height:24px;border-radius:12px;margin-left:6px;vertical-align:2px}
img{display:block;width:100%;height:auto;margin:12px 0 4px;border:1px solid var(--line);border-radius:6px}
summary{cursor:pointer;color:var(--soft);margin-top:12px}
.ROLLBACK{background:#a85a17}.ALERT{color:#2b2000}
td{vertical-align:top}td.why{white-space:normal;min-width:260px;overflow-wrap:anywhere}td a{margin-right:10px}
"""

_ACTIONS = "".join(f".{action}{{background:{colour}}}" for action, colour in ACTION_COLOURS.items())
"""The style above goes on top: it makes what is written on them easier to read."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A ruling, and the addresses of what is to be read on it by what they show, relative to the page or absolute."""

    ruling: Ruling
    links: tuple[tuple[str, str], ...]
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """A model: the version that its newest ruling judged, and its rulings, that of the latest window first.

    Of one that was not judged yet, ``version`` is what serves and ``since`` the time from which it does; both are empty
    if none was released. ``stopped`` is why its last retraining stopped, and the addresses of what is to be read on
    that; None if it did not.
    """

    model: str
    version: str
    judged: tuple[Judged, ...]
    since: datetime | None = None
    stopped: tuple[str, tuple[tuple[str, str], ...]] | None = None


def write_front_page(settings: Settings) -> None:
    """Write ``index.html`` of the reports' folder anew, from the ledger and from the reports that are there.

    Raises
    ------
    LedgerError
        If the ledger cannot be read.
    """
    ledger = Ledger(settings.ledger)
    models = {model for kind in (Ruling, Release, Validation) for model in ledger.models(kind)}
    watched = [_watched(settings, ledger, model) for model in sorted(models)]
    links = [(title, f"{name}/") for title, name in _FOLDERS if (settings.reports_dir / name).is_dir()]
    links += [("Prefect", settings.prefect_url), ("MLflow", settings.mlflow_url)]
    write_document(settings.reports_dir / "index.html", render_front(watched, links))


def render_front(watched: Sequence[Watched], links: Sequence[tuple[str, str]]) -> str:
    """The page, as HTML; ``links`` (what they show, address) lead to what belongs to no one model."""
    newest = max((one.judged[0].ruling.end for one in watched if one.judged), default=None)
    until = f", latest window to {newest:%Y-%m-%d %H:%M} UTC" if newest else ""
    models = f"{len(watched)} model{'' if len(watched) == 1 else 's'}{until}"
    body = (
        f'<header><div><h1>trimtab</h1><div class="soft">{models}</div></div><nav>{_links(links)}</nav></header>'
        f"{_glance(watched)}{''.join(_section(one) for one in watched)}"
    )
    return document("trimtab: reports", body, _ACTIONS + _STYLE)


_FOLDERS = (("Demo", "demo"), ("Dossiers", "dossiers"))


def _watched(settings: Settings, ledger: Ledger, model: str) -> Watched:
    entries = ledger.entries(Ruling, model, newest=SHOWN_RULINGS)
    judged = sorted((_judged(settings, ledger, entry) for entry in entries), key=lambda one: one.ruling.end)[::-1]
    release = ledger.find(Release, judged[0].ruling.release_id) if judged else ledger.latest(Release, model)
    version, since = (release.version, release.since) if release else ("", None)
    return Watched(model, version, tuple(judged), since, _stopped(settings, ledger, model))


def _stopped(settings: Settings, ledger: Ledger, model: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """Of a retraining whose rows failed the suite, unless another has ended since."""
    validations = [
        (entry, entry.record)
        for entry in ledger.entries(Validation, model, newest=_LOOKED_BACK)
        if isinstance(entry.record, Validation) and entry.record.subject_id.startswith("snapshot-")
    ]
    ended = ledger.entries(Retraining, model, newest=1)
    if not validations or validations[-1][1].success or (ended and ended[0].sequence > validations[-1][0].sequence):
        return None
    entry, found = validations[-1]
    failed = "; ".join(
        f"{one.column or 'the rows'}: {one.expected}, observed {one.observed}" for one in found.failed[:2]
    )
    page = (settings.reports_dir / found.page).is_file() if found.page else False
    links = ((("validation", found.page),) if page else ()) + (
        (("run", settings.flow_run_url(entry.flow_run_id)),) if entry.flow_run_id else ()
    )
    count = "1 expectation" if len(found.failed) == 1 else f"{len(found.failed)} expectations"
    rows = f"{count} of suite {found.suite} failed on its {found.rows:,} rows"
    serves = ", and what served before still serves" if ledger.latest(Release, model) else ""
    return f"the last retraining stopped{serves}: {rows} ({failed})", links


def _judged(settings: Settings, ledger: Ledger, entry: Entry) -> Judged:
    ruling = entry.record
    assert isinstance(ruling, Ruling)
    picture = f"{ruling.report.rpartition('/')[0]}/{PICTURE}" if ruling.report else ""
    validation = ledger.find(Validation, ruling.validation_id) if ruling.validation_id else None
    files = (
        ("Evidently report", ruling.report),
        ("picture", picture),
        ("validation", validation.page if validation else ""),
    )
    there = [(title, path) for title, path in files if path and (settings.reports_dir / path).is_file()]
    links = (*there, ("run", settings.flow_run_url(entry.flow_run_id))) if entry.flow_run_id else tuple(there)
    return Judged(ruling, links, picture if ("picture", picture) in there else "")


def _glance(watched: Sequence[Watched]) -> str:
    """Above the models: each with its newest ruling, where there are several; where there is none, why."""
    if not watched:
        return "<section>No model was released yet. Each is judged from its first release on.</section>"
    links = (
        f'<a href="#{text(one.model)}">{text(one.model)} {_action(one.judged[0].ruling) if one.judged else ""}</a>'
        for one in watched
    )
    return f'<p class="glance">{"".join(links)}</p>' if len(watched) > 1 else ""


def _section(watched: Watched) -> str:
    return _judged_section(watched) if watched.judged else _unjudged_section(watched)


def _unjudged_section(watched: Watched) -> str:
    model = text(watched.model)
    if watched.since is None:
        serves, said = "", "No version was released yet."
    else:
        serves = f'<span class="soft">version {text(watched.version)}, since {watched.since:%Y-%m-%d %H:%M} UTC</span>'
        said = "No window was judged yet: the first is when it has ended and the model's watch has run."
    return f'<section id="{model}"><h2>{model} {serves}</h2><p class="said">{said}</p>{_halt(watched)}</section>'


def _judged_section(watched: Watched) -> str:
    newest, *earlier = watched.judged
    ruling, model = newest.ruling, text(watched.model)
    picture = (
        f'<a href="{text(newest.picture)}"><img src="{text(newest.picture)}" width="960" height="288" '
        f'alt="{model}: performance over time, drift by feature, calibration"></a>'
        if newest.picture
        else ""
    )
    rows = "".join(
        f"<tr><td>{_until(one.ruling)}</td><td>{_action(one.ruling)}</td>"
        f'<td class="why">{_sentence(one.ruling)}</td><td>{_links(one.links)}</td></tr>'
        for one in earlier
    )
    heads = "".join(f"<th>{title}</th>" for title in ("window to (UTC)", "ruling", "because", "more"))
    table = (
        f'<details><summary>earlier rulings ({len(earlier)})</summary><div class="scroll">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
        if earlier
        else ""
    )
    window = f"version {text(watched.version)}, window {ruling.start:%Y-%m-%d %H:%M} to {_until(ruling)} UTC"
    return (
        f'<section id="{model}"><h2>{model} {_action(ruling)}<span class="soft">{window}</span></h2>'
        f'<p class="said">{_sentence(ruling)}</p>{_halt(watched)}{picture}'
        f'<p class="links">{_links((*newest.links, ("all its files", f"{watched.model}/")))}</p>{table}</section>'
    )


def _halt(watched: Watched) -> str:
    if watched.stopped is None:
        return ""
    why, links = watched.stopped
    return f'<p class="said halt">{_capital(why)} <span class="links">{_links(links)}</span></p>'


def _links(links: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<a href="{text(address)}">{text(title)}</a>' for title, address in links)


def _action(ruling: Ruling) -> str:
    return f'<span class="action {ruling.action}">{ruling.action}</span>'


def _until(ruling: Ruling) -> str:
    return f"{ruling.end:%Y-%m-%d %H:%M}"


def _sentence(ruling: Ruling) -> str:
    return _capital(ruling.reason)


def _capital(said: str) -> str:
    return text(f"{said[:1].upper()}{said[1:]}.")
