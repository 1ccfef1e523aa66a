"""What a watch leaves for people: the reference it compares with, and Evidently's report with our scores in it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from tasks.monitoring import evidently_report, make_reference, open_window, plots
from tasks.monitoring.evidently_report import write_report
from tasks.monitoring.evidently_workspace import add_run, keep_newest
from tests.flows.watched import RELEASED, World
from trimtab.decay.parity import JENSEN_SHANNON, Verdict
from trimtab.decay.performance import Performance
from trimtab.decay.reference import Reference
from trimtab.errors import SourceError
from trimtab.records import Action, Candidate, Evaluation, Ruling, Signal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def released(world: World) -> tuple[Candidate, Evaluation]:
    candidate, evaluation = world.ledger.latest(Candidate, "loan"), world.ledger.latest(Evaluation, "loan")
    assert candidate is not None
    assert evaluation is not None
    return candidate, evaluation


def test_a_reference_is_made_once_of_training_features_and_evaluation_scores(world: World) -> None:
    """The folder is known by the candidate; making it again changes nothing, also when the first was cut short."""
    folder = Path(make_reference.fn("loan", *released(world)))
    profile = Reference(folder).profile
    assert [column.bins.column for column in profile.columns] == ["income", "age", "region", "employed", "score"]
    assert profile.column("age").rows == 14 * 240
    assert profile.column("score").rows == 3 * 240
    assert Reference(folder).training.num_rows == 14 * 240
    assert Reference(folder).judged.column_names == [*world.model.spec.feature_names, "score", "outcome"]
    assert Reference(folder).judged.num_rows == Reference(folder).plotted.num_rows == 3 * 240
    stored = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    make_reference.fn("loan", *released(world))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stored
    (folder / "profile.json").unlink()
    make_reference.fn("loan", *released(world))
    assert Reference(folder).profile == profile


def test_a_reference_is_made_of_unaltered_snapshots_only(world: World) -> None:
    """A snapshot's file that was changed since is refused, and no reference is left."""
    for path in world.settings.snapshots_dir.glob("*.parquet"):
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(SourceError, match="was altered"):
        make_reference.fn("loan", *released(world))
    assert not list(world.settings.home.glob("references/*/profile.json"))


def test_evidently_reports_the_verdicts_of_all_rows(world: World, tmp_path: Path) -> None:
    """Scores are those it is given, under its own names of methods; a column without values is left out."""
    random = np.random.default_rng(0)
    rows = pa.table(
        {
            "income": random.normal(size=900),
            "age": pa.nulls(900, pa.int64()),
            "region": random.choice(["north", "south"], 900),
            "employed": random.random(900) < 0.5,
            "score": random.random(900),
        }
    )
    found = [verdict(name, drifted=name == "region") for name in rows.column_names]
    path = tmp_path / "deep" / "drift.html"
    write_report(world.model.spec, rows, rows, found, path, title="loan, <May>", ruling="NONE: calm", at=RELEASED)
    page = path.read_text()
    assert "Drift is detected for 25.0% of columns (1 out of 4)" in page
    assert "Jensen-Shannon distance" in page
    assert "0.4321" in page
    assert "<title>loan, &lt;May&gt;</title>" in page
    assert "NONE: calm" in page
    assert 'href="../../"' in page


def test_the_page_is_the_official_presets(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out to save time is on no page: it equals the one of Evidently's own preset but for its ids."""
    from evidently.presets import DataDriftPreset

    rows = world.rows(RELEASED, RELEASED + timedelta(days=2))
    rows = rows.append_column("score", pa.array(np.linspace(0, 1, rows.num_rows)))
    found = [verdict(name, drifted=False) for name in (*world.model.spec.feature_names, "score")]
    write_report(world.model.spec, rows, rows, found, tmp_path / "ours.html", title="", ruling="", at=RELEASED)
    monkeypatch.setattr(evidently_report, "_preset", lambda: DataDriftPreset)
    write_report(world.model.spec, rows, rows, found, tmp_path / "official.html", title="", ruling="", at=RELEASED)
    ours, official = (
        re.sub(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", "", (tmp_path / f"{name}.html").read_text())
        for name in ("ours", "official")
    )
    assert ours == official


def test_evidentlys_workspace_has_a_project_a_model_and_a_run_a_window(world: World, tmp_path: Path) -> None:
    """A window that is published again stands there once; runs have the window's end as their time, and the ruling."""
    from evidently.ui.workspace import Workspace

    rows = world.rows(RELEASED, RELEASED + timedelta(days=2))
    rows = rows.append_column("score", pa.array(np.linspace(0, 1, rows.num_rows)))
    found = [verdict("income", drifted=True)]
    run = write_report(
        world.model.spec,
        rows,
        rows,
        found,
        tmp_path / "drift.html",
        title="loan, May",
        ruling="NONE: calm",
        at=RELEASED,
    )
    assert run is not None
    folder = tmp_path / "evidently"
    added = [add_run(folder, model, window, run) for model, window in (("loan", "1"), ("loan", "1"), ("loan", "2"))]
    add_run(folder, "churn", "1", run)
    workspace = Workspace.create(str(folder))
    assert sorted(project.name for project in workspace.list_projects()) == ["churn", "loan"]
    (project,) = workspace.search_project("loan")
    assert set(workspace.list_runs(project.id)) == set(added)
    assert len(set(added)) == 2
    kept = workspace.get_run(project.id, added[0])
    assert kept is not None
    assert (kept.name, kept.timestamp) == ("loan, May", RELEASED.replace(tzinfo=None))
    assert kept.metadata == {"ruling": "NONE: calm"}
    assert [len(tab.panels) for tab in project.dashboard.model().tabs] == [2]


def test_evidentlys_workspace_keeps_the_newest_windows_of_each_model(world: World, tmp_path: Path) -> None:
    """The oldest go, those of other models and those that people added stay, and a window without a run is no loss."""
    from evidently.ui.workspace import Workspace

    rows = world.rows(RELEASED, RELEASED + timedelta(days=2))
    found = [verdict("income", drifted=False)]
    about = {"title": "loan", "ruling": "NONE: calm", "at": RELEASED}
    run = write_report(world.model.spec, rows, rows, found, tmp_path / "drift.html", **about)
    assert run is not None
    folder = tmp_path / "evidently"
    added = {window: add_run(folder, "loan", window, run) for window in ("1", "2", "4", "5")}
    add_run(folder, "churn", "1", run)
    workspace = Workspace.create(str(folder))
    (loan,), (churn,) = workspace.search_project("loan"), workspace.search_project("churn")
    foreign = workspace.add_run(loan.id, run).id
    judged = ["1", "2", "3", "4", "5"]
    assert [keep_newest(folder, "loan", judged, count) for count in (9, 5, 2, 2)] == [0, 0, 2, 0]
    assert set(workspace.list_runs(loan.id)) == {added["4"], added["5"], foreign}
    assert len(workspace.list_runs(churn.id)) == 1


def verdict(column: str, drifted: bool) -> Verdict:
    return Verdict(column=column, method=JENSEN_SHANNON, score=0.4321, threshold=0.1, drifted=drifted)


def test_the_picture_shows_what_was_estimated_beside_what_was_realised(world: World) -> None:
    """An estimate is there before any outcome is, with its interval, and in windows of both they are told apart."""
    lost = {"threshold": 0.6, "breached": False, "rows": 240, "calm": 0.55}
    estimate = Signal(name="estimated.log_loss", value=0.52, low=0.5, high=0.54, **lost)
    outcomes = Signal(name="performance.log_loss", value=0.55, low=0.45, high=0.65, **lost)
    window = open_window.fn("loan", RELEASED + timedelta(days=3))
    rulings = [
        Ruling(
            **{"id": f"ruling-{day}", "model": "loan", "release_id": "release-1", "validation_id": None, "reason": ""},
            **{"start": RELEASED, "end": end, "as_of": end, "action": Action.NONE, "policy_digest": "p"},
            signals=(estimate, outcomes) if day == 2 else (estimate,),
        )
        for day in (1, 2)
        for end in [RELEASED + timedelta(days=day)]
    ]
    for seen, intervals in ((rulings[:1], [[(0.5, 0.54)]]), (rulings, [[(0.5, 0.54)] * 2, [(0.45, 0.65)]])):
        axes = Figure().add_subplot()
        plots.draw_over_time(axes, window, seen)
        bars = [one.get_segments() for one in axes.collections if isinstance(one, LineCollection)]
        drawn = [[tuple(line[:, 1]) for line in lines] for lines in bars]
        assert drawn == intervals
        assert "estimated" in axes.get_legend_handles_labels()[1]
        limits = [line for line in axes.lines if line.get_color() == "#888888"]
        assert sorted(float(line.get_ydata()[0]) for line in limits) == pytest.approx([0.55, 0.6])
        for line in limits:
            across = line.get_transform().transform(np.column_stack([line.get_xdata(orig=False), line.get_ydata()]))
            left, right = axes.bbox.intervalx
            assert np.ptp(across[:, 0]) > 0.8 * (right - left)


def test_a_plot_without_data_says_why_and_measures_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window without rows has three plots, each with its reason and no tick: an axis from 0 to 1 is no data."""
    drawn: list[Figure] = []
    add_axes = Figure.add_axes
    monkeypatch.setattr(Figure, "add_axes", lambda self, place: drawn.append(self) or add_axes(self, place))
    end = RELEASED + timedelta(days=3)
    ruling = Ruling(
        **{"id": "ruling-empty", "model": "loan", "release_id": "release-1", "validation_id": None, "reason": ""},
        **{"start": RELEASED, "end": end, "as_of": end, "action": Action.NONE, "policy_digest": "p", "signals": ()},
    )
    window = open_window.fn("loan", end)
    plots.picture(window, ruling, [], Performance())
    panels = drawn[0].axes
    assert [[text.get_text() for text in axes.texts] for axes in panels] == [
        *(["no mature outcomes yet"], ["no rows to compare"], ["no mature outcomes"])
    ]
    assert [[*axes.get_xticks(), *axes.get_yticks()] for axes in panels] == [[], [], []]
    of_numbers = window.spec.target.model_copy(update={"kind": "regression"})
    window = window.model_copy(update={"spec": window.spec.model_copy(update={"target": of_numbers})})
    plots.picture(window, ruling, [], Performance(mature=9, outcomes=9))
    assert drawn[-1].axes[2].texts[0].get_text() == "a regression has none"


def test_dates_below_the_windows_have_room_however_far_apart_the_windows_are() -> None:
    """The newest always; of windows that lie close to each other beside a gap, one: dates would cover each other."""
    newest = RELEASED + timedelta(days=85)
    close = [RELEASED + timedelta(days=day) for day in (0, 1, 2)]
    assert plots.ticks_of([*close, newest]) == [close[2], newest]
    weekly = [RELEASED + timedelta(weeks=week) for week in range(29)]
    assert plots.ticks_of(weekly) == weekly[::4]
    assert plots.ticks_of(weekly[:1]) == weekly[:1]
