"""Which rows train and which judge: windows that compete, the change that rulings tell of, and what is blocked."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tasks.data import take_snapshot
from trimtab.cli import app
from trimtab.errors import LedgerError, SpecError, TooFewRowsError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Action, BlockedSpan, BlockedSpanLifted, Release, Ruling, Signal, Snapshot, content_id
from trimtab.settings import Settings
from trimtab.spec import Training, TrainingWindow
from trimtab.training.blocks import block_span, lift_block, standing_blocks
from trimtab.training.snapshots import read_snapshot
from trimtab.training.windows import blocked_spans, change_since, evaluation_span, training_span

TESTS = Path(__file__).parents[1]
SPEC = load_model(TESTS / "models", "loan").spec
AS_OF = datetime(2024, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def ruling(end: datetime, *breached: str, action: Action = Action.ALERT, release: str = "release-1") -> Ruling:
    signals = tuple(Signal(name=name, value=1, threshold=0, breached=True, rows=100) for name in breached)
    return Ruling(
        id=content_id("ruling", end, breached, action),
        model="loan",
        release_id=release,
        validation_id=None,
        start=end - SPEC.window,
        end=end,
        as_of=end,
        action=action,
        reason="of this test",
        signals=signals,
        policy_digest="p",
    )


@pytest.fixture
def ledger(settings_env: Settings, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """With a release that serves; what it follows from is no matter here."""
    monkeypatch.setattr(Release, "parents", lambda self: ())
    ledger = Ledger(settings_env.ledger)
    served = Release(
        **{"id": "release-1", "model": "loan", "version": "1", "version_id": "v", "candidate_id": "c", "image_id": "i"},
        **{"artifact_digest": "a", "runtime": "process", "endpoint": "", "cause_id": "x", "since": AS_OF - 60 * DAY},
    )
    ledger.append(served)
    return ledger


def spec_with(*windows: TrainingWindow, **training: object) -> object:
    return SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"windows": windows, **training})})


def test_every_window_ends_where_the_judging_rows_begin() -> None:
    """Whatever a window's length, no row trains that judges, and none whose outcome is not mature."""
    early = datetime(2024, 1, 1, tzinfo=UTC)
    spec = spec_with(earliest=early)
    spans = [
        training_span(spec, AS_OF, TrainingWindow(name="a", span=span), changed_at=AS_OF - 6 * DAY)
        for span in ("all", "since_change", timedelta(days=3))
    ]
    assert {span.end for span in spans} == {evaluation_span(spec, AS_OF).start}
    assert [span.start for span in spans] == [early, AS_OF - 6 * DAY, spans[0].end - timedelta(days=3)]


def test_a_change_is_as_old_as_the_windows_that_tell_of_it_without_a_break() -> None:
    """An older breach before a calm window, and those of another release, are another story."""
    found = [
        ruling(AS_OF - 8 * DAY, "performance.roc_auc"),
        ruling(AS_OF - 6 * DAY),
        ruling(AS_OF - 4 * DAY, "drifted_share"),
        ruling(AS_OF - 2 * DAY, "performance.roc_auc"),
        ruling(AS_OF + 2 * DAY),
    ]
    assert change_since(SPEC, "release-1", found, AS_OF) == found[2].start
    assert change_since(SPEC, "release-1", found[3:], AS_OF) == found[3].start - SPEC.label_maturity
    assert change_since(SPEC, "release-2", found, AS_OF) is None
    assert change_since(SPEC, "release-1", found, AS_OF + 3 * DAY) is None


def test_what_drifted_in_importance_or_in_the_answers_tells_of_a_change_and_a_feature_alone_does_not() -> None:
    """A window whose scores, or what the model owes most to, were off belongs to the change; `drift.scores` may be a
    feature."""
    first, second = (ruling(AS_OF - days * DAY, "drift.score", "drift.age") for days in (6, 4))
    heavy = ruling(AS_OF - 2 * DAY, "drifted_importance", "performance.roc_auc")
    feature = ruling(AS_OF, "drift.age", "drift.scores")
    assert change_since(SPEC, "release-1", [first, second, heavy], AS_OF) == first.start
    assert change_since(SPEC, "release-1", [second], AS_OF) == second.start
    assert change_since(SPEC, "release-1", [first, second, heavy, feature], AS_OF) is None
    several = load_model(TESTS / "models", "parcel").spec
    late = ruling(AS_OF, "drift.score.late")
    assert change_since(several, "release-1", [late], AS_OF) == late.start


def test_a_change_that_is_not_known_or_too_young_leaves_the_usual_window() -> None:
    """Since the change needs rows before those that judge."""
    window, usual = TrainingWindow(name="a", span="since_change"), training_span(SPEC, AS_OF)
    assert training_span(SPEC, AS_OF, window, None) == usual
    assert training_span(SPEC, AS_OF, window, AS_OF - timedelta(hours=1)) == usual


def test_a_block_stands_until_it_is_lifted_and_that_of_a_ruling_since_it_was_made() -> None:
    """A BLOCK ruling that lies after the moment of the retraining is not yet there."""
    named = BlockedSpan(
        **{"id": "b", "model": "loan", "start": AS_OF - DAY, "end": AS_OF},
        **{"reason": "r", "blocked_by": "Ada", "blocked_at": AS_OF + 9 * DAY},
    )
    past, coming = (ruling(AS_OF + shift, action=Action.BLOCK) for shift in (-3 * DAY, DAY))
    found = blocked_spans([named], [past, coming, ruling(AS_OF - 5 * DAY)], [], AS_OF)
    assert [one.because for one in found] == [past.id, "b"]
    lifted = [
        BlockedSpanLifted(id=one, model="loan", blocked_id=one, reason="r", lifted_by="Ada", lifted_at=AS_OF)
        for one in ("b", past.id)
    ]
    assert blocked_spans([named], [past], lifted, AS_OF) == ()


@pytest.mark.parametrize(
    ("breached", "spans"),
    [
        (("fault.stuck_outcomes.repaid",), ["outcomes"]),
        (("fault.stuck_outcomes.repaid", "fault.frozen.income"), ["outcomes", "window"]),
        (("fault.stuck_outcomes.repaid", "failed_expectations"), ["outcomes", "window"]),
        (("fault.frozen.income", "performance.roc_auc"), ["window"]),
    ],
)
def test_a_ruling_blocks_the_rows_that_are_broken(breached: tuple[str, ...], spans: list[str]) -> None:
    """Outcomes that stand still are of rows before the window, which itself may be sound."""
    ruled = ruling(AS_OF, *breached, action=Action.BLOCK)
    of = {
        "window": (ruled.start, ruled.end),
        "outcomes": (ruled.start - SPEC.label_maturity, ruled.end - SPEC.label_maturity),
    }
    ruled = ruled.model_copy(update={"outcomes_start": of["outcomes"][0], "outcomes_end": of["outcomes"][1]})
    found = blocked_spans([], [ruled], [], AS_OF)
    assert [(one.start, one.end) for one in found] == [of[name] for name in spans]


def test_a_snapshot_leaves_out_blocked_rows_and_says_so(settings_env: Settings) -> None:
    """Its id follows from that; once lifted, the snapshot of before comes back."""
    ledger, before = Ledger(settings_env.ledger), take_snapshot.fn("loan", "training", AS_OF)
    assert before.left_out == ()
    start = before.start + DAY
    span = block_span(ledger, "loan", start, start + DAY, "incomes in cents", "Ada", AS_OF)
    without = take_snapshot.fn("loan", "training", AS_OF)
    assert without.id != before.id
    assert without.parents() == (span.id,)
    times = read_snapshot(without)["event_time"].to_pylist()
    assert before.rows - without.rows == 240
    assert not [time for time in times if start <= time < start + DAY]
    assert take_snapshot.fn("loan", "evaluation", AS_OF).left_out == ()
    ledger.append(without)
    lift_block(ledger, span.id, "the rows were repaired", "Ada", AS_OF)
    assert take_snapshot.fn("loan", "training", AS_OF) == before


def test_a_slice_that_is_blocked_as_a_whole_is_refused_with_what_blocks_it(settings_env: Settings) -> None:
    """Nothing is judged on rows that are known to be broken."""
    ledger, judged = Ledger(settings_env.ledger), evaluation_span(SPEC, AS_OF)
    span = block_span(ledger, "loan", judged.start, judged.end, "broken", "Ada", AS_OF)
    with pytest.raises(TooFewRowsError, match=f"0 rows .* not blocked .*{span.id}"):
        take_snapshot.fn("loan", "evaluation", AS_OF)


def test_since_the_change_falls_back_where_that_gives_too_few_rows(
    settings_env: Settings, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One day since the change is too little for 300 rows, four are enough."""
    models = shutil.copytree(settings_env.models_dir, tmp_path / "models")
    spec_file = models / "loan" / "spec.py"
    windows = (
        '(TrainingWindow(name="changed", span="since_change"), TrainingWindow(name="day", span=timedelta(days=2)))'
    )
    text = spec_file.read_text().replace("minimum_rows=200", f"minimum_rows=300, windows={windows}")
    spec_file.write_text(text.replace("Training,", "").replace("Trainer,", "Trainer, Training, TrainingWindow,", 1))
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(models))
    end = evaluation_span(SPEC, AS_OF).start
    taken: dict[int, Snapshot] = {}
    for days in (1, 4):
        ledger.append(ruling(end - days * DAY + SPEC.window, "drifted_share"))
        taken[days] = take_snapshot.fn("loan", "training", AS_OF, "changed")
    assert taken[1].start == training_span(SPEC, AS_OF).start
    assert (taken[4].start, taken[4].window) == (end - 4 * DAY, "changed")
    assert take_snapshot.fn("loan", "training", AS_OF, "day").start == end - 2 * DAY


def test_a_window_of_all_rows_must_say_since_when_and_candidates_are_bounded() -> None:
    """The spec refuses what would ask a source for everything since 1970, or train for a day."""
    with pytest.raises(ValidationError, match="earliest is not given"):
        Training(windows=(TrainingWindow(name="whole", span="all"),))
    many = tuple(TrainingWindow(name=f"w{days}", span=timedelta(days=days)) for days in range(1, 14))
    with pytest.raises(ValidationError, match="1 trainers on 13 windows make 13 candidates; at most 12"):
        type(SPEC).model_validate({**SPEC.model_dump(), "training": Training(windows=many)})
    with pytest.raises(ValidationError, match="more than once"):
        Training(windows=(many[0], many[0]))
    with pytest.raises(ValidationError, match="longer than zero"):
        TrainingWindow(name="a", span=timedelta(0))


def test_the_commands_block_list_and_lift(settings_env: Settings) -> None:
    """What they say is what is on record."""

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    told = said("block", "loan", "--from", "2024-03-01", "--to", "2024-03-02", "--reason", "cents", "--by", "Ada")
    span_id = told.split()[0]
    assert standing_blocks(Ledger(settings_env.ledger), "loan", AS_OF)[0].because == span_id
    assert "blocked by Ada: cents" in said("blocks", "loan")
    assert "was lifted by Ada" in said("unblock", span_id, "--reason", "repaired", "--by", "Ada")
    assert said("blocks", "loan") == "nothing of loan is blocked\n"


def test_a_block_that_cannot_be_is_refused(ledger: Ledger) -> None:
    """An empty span, no reason, or an id that blocks nothing."""
    with pytest.raises(SpecError, match="must end after it starts"):
        block_span(ledger, "loan", AS_OF, AS_OF, "why", "Ada", AS_OF)
    with pytest.raises(SpecError, match="must say why"):
        block_span(ledger, "loan", AS_OF - DAY, AS_OF, " ", "Ada", AS_OF)
    calm = ruling(AS_OF)
    ledger.append(calm)
    for none in (calm.id, "blocked-span-0"):
        with pytest.raises(LedgerError, match="blocks no rows"):
            lift_block(ledger, none, "why", "Ada", AS_OF)
