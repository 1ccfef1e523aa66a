"""Is everything as it must be: specs, suites, services."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from trimtab.errors import LedgerError, ServiceUnavailableError, SpecError
from trimtab.ledger import Ledger
from trimtab.models import load_folder, load_models, model_folders
from trimtab.serving.tls import client_tls
from trimtab.settings import Settings, is_ours
from trimtab.spec import ModelSpec

_ANSWER_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    which: str
    ok: bool
    detail: str


def check_all(settings: Settings) -> list[Check]:
    """Look at every spec, suite, service and alert, and the ledger. Never raises for what it finds; takes seconds."""
    found = [*check_models(settings), check_ledger(settings), *check_services(settings)]
    return [*found, *check_alerts(settings)] if all(each.ok for each in found if each.what != "service") else found


def check_models(settings: Settings) -> list[Check]:
    """Every model's spec, and the suite that it names."""
    try:
        folders = model_folders(settings.models_dir)
    except SpecError as error:
        return [Check("spec", str(settings.models_dir), False, str(error))]
    if not folders:
        return [Check("spec", str(settings.models_dir), False, "there is no model folder with a spec.py in it")]
    found: list[Check] = []
    for folder in folders:
        try:
            spec = load_folder(folder).spec
        except SpecError as error:
            found.append(Check("spec", folder.name, False, str(error)))
            continue
        detail = f"{len(spec.features)} features, trained by {', '.join(trainer.name for trainer in spec.trainers)}"
        found += [Check("spec", spec.name, True, detail), _check_suite(settings, spec)]
    if all(check.ok for check in found):
        try:
            load_models(settings.models_dir)
        except SpecError as error:
            found.append(Check("spec", str(settings.models_dir), False, str(error)))
    return found


def check_ledger(settings: Settings) -> Check:
    """The ledger answers and its chain holds."""
    try:
        entries = Ledger(settings.ledger).verify()
    except LedgerError as error:
        return Check("ledger", settings.ledger_url or "SQLite", False, str(error))
    return Check("ledger", settings.ledger_url or "SQLite", True, f"{entries} entries, the chain holds")


def check_services(settings: Settings) -> list[Check]:
    """Every service of this home's stack, or that a variable names, answers.

    What answers at a default address without either is someone else's, and is not asked.
    """
    looked_at = {
        "prefect_url": ("Prefect", "/api/health"),
        "mlflow_url": ("MLflow", "/health"),
        "gateway_url": ("gateway", "/v2/health/live"),
        "reports_url": ("reports", "/"),
    }
    return [
        _check_service(settings, name, getattr(settings, setting), path)
        if is_ours(settings, setting)
        else Check("service", name, False, f"not running in {settings.home}: is `trimtab up` running?")
        for setting, (name, path) in looked_at.items()
    ]


def check_alerts(settings: Settings) -> list[Check]:
    """Whether what the alerts had to tell in the last days was delivered; nothing where Prefect does not answer.

    An alert is not ok while the newest of its messages was lost.
    """
    specs = [model.spec for model in load_models(settings.models_dir).values() if model.spec.alerts]
    if not specs or not is_ours(settings, "prefect_url"):
        return []
    # Prefect takes a second to import.
    from deployments.deliveries import LOOKED_BACK, deliveries

    try:
        told = deliveries(settings, specs)
    except (ServiceUnavailableError, LedgerError):
        return []  # said above
    found: list[Check] = []
    for each in told:
        ended = [one for one in each.deliveries if one.lost is not None]
        lost = [one for one in ended if one.lost]
        said = f"{len(lost)} of {len(ended)} messages in {LOOKED_BACK.days} days were not delivered"
        detail = each.hindrance or (said if each.deliveries else f"nothing to tell in {LOOKED_BACK.days} days")
        if len(ended) < len(each.deliveries):
            detail += f", {len(each.deliveries) - len(ended)} may be under way"
        if lost:
            detail += f", the last of {lost[-1].asked_at:%Y-%m-%d %H:%M} UTC: {lost[-1].lost}"
        found.append(Check("alert", each.alert, not (each.hindrance or (ended and ended[-1].lost)), detail))
    return found


def _check_suite(settings: Settings, spec: ModelSpec) -> Check:
    # Great Expectations itself says what it knows; it takes seconds to import.
    from tasks.validation.suite import columns_of, read_suite

    which = f"{spec.suite} of {spec.name}"
    try:
        expectations, _ = read_suite(spec, settings)
    except SpecError as error:
        return Check("suite", which, False, str(error))
    known = {*spec.feature_names, spec.target.name, spec.event_time, spec.key}
    for number, expectation in enumerate(expectations, 1):
        if unknown := sorted(columns_of(expectation) - known):
            said = f"expectation {number} ({expectation['type']}) is on column {unknown[0]!r}, which the spec lacks"
            return Check("suite", which, False, f"{settings.suites_dir / spec.suite}.json: {said}")
    return Check("suite", which, True, f"{len(expectations)} expectations")


def _check_service(settings: Settings, name: str, url: str, path: str) -> Check:
    address = f"{url.rstrip('/')}{path}"
    try:
        trusted = client_tls(settings) if name == "gateway" else True
        answer = httpx.get(address, timeout=_ANSWER_WITHIN_S, follow_redirects=True, verify=trusted)
    except SpecError as error:
        return Check("service", name, False, str(error))
    except httpx.ReadTimeout:
        return Check("service", name, False, f"{url} is there, but has not answered within {_ANSWER_WITHIN_S} s")
    except httpx.TransportError as error:
        return Check(
            "service", name, False, f"{url} does not answer ({type(error).__name__}): is `trimtab up` running?"
        )
    if not answer.is_success:
        return Check("service", name, False, f"{url}{path} answers {answer.status_code}")
    return Check("service", name, True, url)
