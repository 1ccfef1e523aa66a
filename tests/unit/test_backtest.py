"""A backtest rules as production does, learns nothing from the future, and touches nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from trimtab.backtest.files import past_rows
from trimtab.backtest.prepare import usual_window
from trimtab.backtest.results import ALWAYS, NEVER, POLICY, Backtest
from trimtab.backtest.rows import PastRows
from trimtab.backtest.run import Asked, Every, backtest
from trimtab.backtest.simulate import edges
from trimtab.backtest.small_spec import FUNCTIONS, SmallSpec, model_spec, with_settings
from trimtab.cli.backtest_shown import sentences
from trimtab.errors import SourceError
from trimtab.records import Action, FailedExpectation, Validation

START, DAY = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)
TURNS, END = START + 60 * DAY, START + 90 * DAY
SETTINGS = ("policy.metric=roc_auc", "policy.performance_drop=0.05", "policy.cooldown=7d", "training.window=21d")


def history(kind: str = "binary", score: bool = False, settings: tuple[str, ...] = ()) -> PastRows:
    """Ninety days of 60 rows; what a feature means turns over after sixty."""
    random, count = np.random.default_rng(0), 90 * 60
    times = np.datetime64("2024-01-01") + (np.arange(count) * 24).astype("timedelta64[m]")
    x, group = random.normal(size=count), random.choice(["a", "b"], count)
    sign = np.where(times < np.datetime64("2024-03-01"), 1.0, -1.0)
    logit = 2.5 * sign * x
    target = (
        logit + random.normal(size=count) if kind == "regression" else random.random(count) < 1 / (1 + np.exp(-logit))
    )
    columns = {"at": pa.array(times.astype("datetime64[us]")), "x": x, "group": group, "y": np.asarray(target, float)}
    table = pa.table(columns | ({"said": 1 / (1 + np.exp(-2.5 * x))} if score else {}))
    fields = {"time": "at", "target": "y", "kind": kind, "maturity": "2d", "features": ("x", "group")}
    small = SmallSpec.model_validate(fields | {"parameters": {"max_iter": 20}, "score": "said" if score else ""})
    spec = with_settings(model_spec(small, "turning", table)[0], settings or SETTINGS)
    return past_rows(spec, table, small.score or None)


@pytest.mark.parametrize(
    ("rows", "days", "window"),
    [
        (20_000, 360, timedelta(days=7)),
        (5_000, 270, timedelta(days=21)),
        (20_000, 60, timedelta(days=2)),
        (500_000, 3, timedelta(hours=1)),
        (300, 360, timedelta(days=7)),
    ],
)
def test_a_window_that_is_left_out_holds_enough_rows_to_be_judged(rows: int, days: int, window: timedelta) -> None:
    """Whole weeks, else days, else hours: twelve windows at least; where too few rows are there, a week."""
    times = np.datetime64("2024-01-01") + (np.arange(rows) * (days * 86_400_000_000 // rows)).astype("timedelta64[us]")
    table = pa.table({"at": times, "x": np.zeros(rows), "y": np.arange(rows) % 2})
    spec = model_spec(SmallSpec(time="at", target="y", features=("x",)), "file", table)[0]
    assert usual_window(past_rows(spec, table)) == window


def linear(matrix: np.ndarray, target: np.ndarray, categorical: np.ndarray, seed: int, **_: object) -> object:
    """A trainer that takes no time."""
    kind = LogisticRegression if set(np.unique(target)) == {0, 1} else Ridge
    return make_pipeline(SimpleImputer(), kind()).fit(matrix, target)


def replayed(rows: PastRows, always: Every = "never", end: datetime = END, **besides: object) -> Backtest:
    name, _ = FUNCTIONS[rows.spec.target.kind]
    return backtest(rows, Asked(START + 34 * DAY, end, always), {name: linear}, **besides)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def turned() -> Backtest:
    return replayed(history(), "window")


def test_the_policy_retrains_after_the_turn_and_never_before(turned: Backtest) -> None:
    """The windows before it are calm; the first whose mature outcomes show it retrains, and keeps most of the gain."""
    actions = [(one.ruling.start, one.ruling.action) for one in turned.windows]
    assert {action for start, action in actions if start + 7 * DAY <= TURNS} == {Action.NONE}
    asked = [start for start, action in actions if action is Action.RETRAIN]
    assert asked
    assert asked[0] < TURNS + 14 * DAY
    never, always, policy = (turned.way(name) for name in (NEVER, ALWAYS, POLICY))
    assert never
    assert always
    assert policy
    assert (never.retrainings, always.retrainings) == (0, len(turned.windows) - 1)
    assert policy.retrainings == len(asked)
    assert policy.metrics["roc_auc"] > never.metrics["roc_auc"]
    gain = (policy.metrics["roc_auc"] - never.metrics["roc_auc"]) / (
        always.metrics["roc_auc"] - never.metrics["roc_auc"]
    )
    assert turned.kept["roc_auc"] == pytest.approx(gain)


def test_a_backtest_twice_says_the_same_and_comes_back_from_json(turned: Backtest) -> None:
    """It is a function of its rows."""
    assert replayed(history(), "window") == turned
    assert Backtest.model_validate_json(turned.model_dump_json()) == turned


def test_nothing_is_learnt_from_the_future() -> None:
    """Rulings on windows up to a moment are the same whatever the rows after it say."""
    rows = history()
    cut = rows.place(START, TURNS + 14 * DAY).stop
    short = PastRows(rows.spec, rows.table.slice(0, cut))
    some = replayed(short, end=TURNS + 14 * DAY)
    whole = replayed(rows)
    assert len(some.windows) == 5
    assert [one.ruling for one in some.windows] == [one.ruling for one in whole.windows[:5]]


def test_a_higher_threshold_is_tried_by_setting_it() -> None:
    """A drop that is never reached never retrains; what else goes wrong is told all the same."""
    tried = ("policy.performance_drop=1", "policy.retrain_without_skill=false")
    found = replayed(history(settings=(*SETTINGS, *tried)), "month")
    assert set(found.actions) <= {"NONE", "ALERT"}
    assert {one.version for one in found.windows} == {"1"}
    assert found.kept["roc_auc"] == 0


def test_a_retraining_that_came_too_early_is_followed_by_others_until_the_model_has_skill() -> None:
    """The first has seen little of what came; it is evaluated as it is, and nothing is lost by that any more."""
    settings = ("policy.metric=log_loss", "policy.performance_drop=0.05", "policy.cooldown=7d", "training.window=60d")
    policy, alone = (
        replayed(history(settings=(*settings, *more))) for more in ((), ("policy.retrain_without_skill=false",))
    )
    assert policy.actions["RETRAIN"] > alone.actions["RETRAIN"]
    (again, once) = (one.way(POLICY) for one in (policy, alone))
    assert again is not None
    assert once is not None
    assert again.metrics["log_loss"] < once.metrics["log_loss"]


def test_cooldown_and_budget_hold_a_retraining_back() -> None:
    """As in production: the ruling is ALERT then, and says why."""
    spent = replayed(history(settings=(*SETTINGS, "policy.budget=0")))
    assert "RETRAIN" not in spent.actions
    assert any("budget of 0" in one.ruling.reason for one in spent.windows)


def test_broken_windows_block_and_their_rows_train_nothing() -> None:
    """A suite that fails on a window's rows rules BLOCK; the retraining after it leaves these rows out."""
    broken, trained = (TURNS, TURNS + 10 * DAY), []

    def validate(table: pa.Table, incoming: bool) -> Validation | None:
        times = table["event_time" if incoming else "at"].to_pylist()
        inside = [time for time in times if broken[0] <= time < broken[1]]
        if not incoming:
            trained.append(len(inside))
            return None
        failed = FailedExpectation(expectation="e", column="x", expected="whole", observed="broken")
        return Validation(
            **{"id": "v", "model": "turning", "subject_id": "", "suite": "s", "suite_digest": "d"},
            **{"success": not inside, "expectations": 1, "rows": len(times), "failed": (failed,) if inside else ()},
        )

    found = replayed(history(), validate=validate)
    blocked = [one.ruling for one in found.windows if one.ruling.action is Action.BLOCK]
    assert [(one.start, one.end) for one in blocked] == [
        (start, end) for start, end in edges(START + 34 * DAY, END, 7 * DAY) if end > broken[0] and start < broken[1]
    ]
    assert found.actions["RETRAIN"] >= 1
    assert set(trained) == {0}


def test_a_regression_is_replayed_too() -> None:
    """By its own metrics, where lower is better."""
    settings = ("policy.performance_drop=0.5", "policy.cooldown=7d", "training.window=21d")
    found = replayed(history("regression", settings=settings), "window")
    assert found.metric == "root_mean_squared_error"
    assert found.actions["RETRAIN"] >= 1
    assert 0 < (found.kept["root_mean_squared_error"] or 0) < 1.5


def test_the_scores_of_a_deployed_model_are_ruled_on_and_never_replaced() -> None:
    """Rulings alone: the rows before the start are the reference, and no model is trained."""
    found = replayed(history(score=True), logged=True)
    assert [way.name for way in found.ways] == [POLICY]
    assert {one.version for one in found.windows} == {"1"}
    assert found.actions["RETRAIN"] >= 2
    assert found.windows[0].ruling.action is Action.NONE


def test_outcomes_that_never_became_known_are_neither_trained_on_nor_measured() -> None:
    """Their rows are incoming all the same."""
    rows = history()
    known = np.arange(rows.table.num_rows) % 2 == 0
    target = pa.array([value if keep else None for value, keep in zip(rows.table["y"].to_pylist(), known, strict=True)])
    at = rows.table.column_names.index("y")
    found = replayed(PastRows(rows.spec, rows.table.set_column(at, "y", target)))
    policy = found.way(POLICY)
    assert policy
    assert policy.rows == sum(one.rows for one in found.windows) // 2
    assert {one.rows for one in found.windows} == {7 * 60}


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (START + 34 * DAY, START + 36 * DAY, "no whole window of 7 days"),
        (END + 10 * DAY, END + 30 * DAY, "there are no rows in .* lie between 2024-01-01"),
        (START + 2 * DAY, END, "first model cannot be made .* --from must leave rows"),
    ],
)
def test_a_span_that_cannot_be_replayed_is_refused(start: datetime, end: datetime, words: str) -> None:
    """With what would be right."""
    name, _ = FUNCTIONS["binary"]
    with pytest.raises(SourceError, match=words):
        backtest(history(), Asked(start, end), {name: linear})


def test_a_retraining_that_fails_is_told_and_leaves_what_serves() -> None:
    """Too few rows to train on: the ruling stands, and so does version 1."""
    rows = history()
    name, function = FUNCTIONS["binary"]
    calls: list[int] = []

    def fails_later(*arguments: object, **parameters: object) -> object:
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("no more memory")
        return function(*arguments, **parameters)  # type: ignore[arg-type]

    found = backtest(rows, Asked(START + 34 * DAY, END, "month"), {name: fails_later})
    assert {one.version for one in found.windows} == {"1"}
    assert any("the retraining failed" in one.outcome and "no more memory" in one.outcome for one in found.windows)
    assert any("always retraining failed" in note for note in found.notes)


def test_the_json_holds_every_signal_beside_its_threshold(turned: Backtest) -> None:
    """So that a page can be made of it elsewhere."""
    first = json.loads(turned.model_dump_json())["windows"][0]
    assert {"name", "value", "threshold", "breached"} <= set(first["ruling"]["signals"][0])


def test_windows_are_whole_and_follow_each_other() -> None:
    """What is left at the end makes none."""
    found = edges(START, START + 20 * DAY, 7 * DAY)
    assert found == [(START, START + 7 * DAY), (START + 7 * DAY, START + 14 * DAY)]


def test_progress_is_told_before_each_window() -> None:
    """And at the end that all is done."""
    told: list[tuple[int, int]] = []
    report: Callable[[int, int, str], None] = lambda done, of, what: told.append((done, of))  # noqa: E731
    found = replayed(history(score=True), logged=True, progress=report)
    count = len(found.windows)
    assert told == [*((at, count) for at in range(count)), (count, count)]


def test_a_breaker_that_opened_is_told_with_the_window_from_which_no_retraining_follows() -> None:
    """Nobody closes it in a replay: a policy that stopped retraining would look as if it had found no reason to."""
    found = replayed(history(settings=(*SETTINGS, "policy.breaker=1", "gates.minimum_gain=0.9")))
    opened = found.breaker_opened
    assert opened is not None
    assert {one.ruling.action for one in found.windows if one.ruling.start >= opened.ruling.start} == {Action.ALERT}
    assert f"From {opened.ruling.start:%Y-%m-%d} on the breaker is open, as retraining was in vain once" in "\n".join(
        sentences(found)
    )
    assert replayed(history()).breaker_opened is None
