"""Whether the policy acts when it should and only then, on public data whose course is known.

NannyML's synthetic car loan (performance falls from the sixth chunk on), the same with 16 % nulls in two columns, and
US census employment in Massachusetts (nothing decays): the scores are the files' own, so rulings alone are replayed.
The flights of 2013 are retrained as ruled, beside never and monthly retraining. NannyML's files lie in
``../shared/data/nannyml``; where they are not, their part is left out.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figures, Table
from trimtab.backtest.files import past_rows
from trimtab.backtest.prepare import of_model
from trimtab.backtest.results import ALWAYS, NEVER, POLICY, Backtest
from trimtab.backtest.run import Asked, backtest
from trimtab.backtest.small_spec import SmallSpec, model_spec, with_settings
from trimtab.models import load_model

ROOT = Path(__file__).parents[1]
NANNYML = ROOT.parent / "shared" / "data" / "nannyml"
CHUNKS = 10
CAR_LOAN_ROWS = 5_000
"""Of a chunk: the tenth of the analysis that NannyML's own examples judge at a time."""

_CAR_LOAN = {
    **{"time": "timestamp", "target": "repaid", "score": "y_pred_proba", "maturity": "30d"},
    "features": (
        *("car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car"),
        *("size_of_downpayment", "driver_tenure"),
    ),
    # The fall is of 0.01 in AUC, a third of the drop that is asked for by default.
    "policy": {"metric": "roc_auc", "performance_drop": 0.005},
}
_EMPLOYMENT = {
    **{"time": "time", "target": "employed", "score": "predicted_probability", "maturity": "30d", "window": "91d"},
    "features": (
        *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE"),
        *("DREM", "SEX", "RAC1P"),
    ),
    "protected": ("SEX", "RAC1P"),
    "policy": {"metric": "roc_auc", "performance_drop": 0.005},
}


def run(arguments: list[str]) -> Figures:
    """Measure; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="benchmarks backtest", description=__doc__)
    parser.add_argument("--no-flights", action="store_true", help="leave out the flights, which take minutes")
    asked = parser.parse_args(arguments)
    found: dict[str, Backtest] = {}
    if NANNYML.is_dir():
        found["car loan"] = car_loan()
        found["car loan, 16 % nulls"] = car_loan("_dq")
        found["employment MA"] = employment()
    if not asked.no_flights:
        found["flight-delay"] = flights()
    tables = [_rulings(found)]
    notes = () if NANNYML.is_dir() else ("NannyML's data is not there: its part is left out",)
    kept = None
    if "flight-delay" in found:
        kept = found["flight-delay"].kept["roc_auc"]
        tables.append(_ways(found["flight-delay"]))
    values = {name: _values(one) for name, one in found.items()}
    return Figures(
        tuple(tables), values, "share of monthly retraining's gain in AUC that the policy keeps", kept, notes
    )


def car_loan(variant: str = "", settings: tuple[str, ...] = ()) -> Backtest:
    """Ten chunks of the analysis rows, judged against the reference; ``variant`` is "" or "_dq"."""
    reference = pq.read_table(NANNYML / f"synthetic_car_loan{variant}_reference.parquet")
    analysis = _joined(f"synthetic_car_loan{variant}_analysis", "synthetic_car_loan_analysis_target")
    table = _stacked(reference, analysis)
    start, last = (datetime.fromisoformat(analysis["timestamp"][at].as_py()).replace(tzinfo=UTC) for at in (0, -1))
    span = (last - start) * (CAR_LOAN_ROWS / (analysis.num_rows - 1))
    return _replayed("car-loan", table, _CAR_LOAN | {"window": f"{span.total_seconds():.3f}s"}, start, span, settings)


def employment(settings: tuple[str, ...] = ()) -> Backtest:
    """The quarters of 2016 to 2018, judged against 2015.

    A row's time within its year is drawn at random: the files order a year's rows by place, not by time.
    """
    reference = pq.read_table(NANNYML / "employment_MA_reference.parquet")
    analysis = _joined("employment_MA_analysis", "employment_MA_analysis_target")
    table = _stacked(reference, analysis)
    years = table["year"].to_numpy()
    times, random = np.empty(len(years), dtype="datetime64[us]"), np.random.default_rng(0)
    for year in np.unique(years):
        rows = random.permutation(np.flatnonzero(years == year))
        begin, end = (np.datetime64(datetime(int(year) + n, 1, 1), "us") for n in (0, 1))  # noqa: DTZ001
        times[rows] = begin + (np.arange(len(rows)) / len(rows) * (end - begin).astype(np.int64)).astype(np.int64)
    table = table.append_column("time", pa.array(times))
    return _replayed(
        "employment", table, _EMPLOYMENT, datetime(2016, 1, 1, tzinfo=UTC), timedelta(days=91), settings, windows=12
    )


def flights() -> Backtest:
    """The flights of March to December 2013, retrained as ruled, held against never and monthly retraining."""
    model = load_model(ROOT / "deployments" / "models", "flight-delay")
    start, end = datetime(2013, 3, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
    prepared = of_model(model, model.spec, start, end, "month", datetime.now(UTC))
    return backtest(prepared.rows, prepared.asked, prepared.functions)


def _replayed(
    name: str,
    table: pa.Table,
    fields: dict[str, object],
    start: datetime,
    window: timedelta,
    settings: tuple[str, ...],
    windows: int = CHUNKS,
) -> Backtest:
    small = SmallSpec.model_validate(fields)
    spec = with_settings(model_spec(small, name, table)[0], settings)
    rows = past_rows(spec, table, small.score)
    return backtest(rows, Asked(start, start + windows * window, "never"), {}, logged=True)


def _joined(rows: str, targets: str) -> pa.Table:
    joined = pq.read_table(NANNYML / f"{rows}.parquet").join(pq.read_table(NANNYML / f"{targets}.parquet"), "id")
    # The files' order is that of time; a join has none.
    return joined.sort_by("id")


def _stacked(reference: pa.Table, analysis: pa.Table) -> pa.Table:
    shared = [name for name in reference.column_names if name in analysis.column_names]
    return pa.concat_tables([reference.select(shared), analysis.select(shared)], promote_options="permissive")


def _rulings(found: dict[str, Backtest]) -> Table:
    rows = []
    for name, one in found.items():
        actions = [str(window.ruling.action) for window in one.windows]
        acted = [str(at + 1) for at, action in enumerate(actions) if action in ("RETRAIN", "BLOCK", "ROLLBACK")]
        counts = ", ".join(f"{action} {count}" for action, count in sorted(one.actions.items()))
        rows.append((name, str(len(actions)), counts, " ".join(acted) or "none"))
    return Table("rulings", ("data", "windows", "ruled", "acted in window"), tuple(rows))


def _ways(found: Backtest) -> Table:
    rows = [
        (name, str(way.retrainings), *(f"{way.metrics[metric]:.4f}" for metric in ("roc_auc", "log_loss")))
        for name in (NEVER, ALWAYS, POLICY)
        if (way := found.way(name))
    ]
    return Table("flight-delay over all windows", ("way", "retrainings", "roc_auc", "log_loss"), tuple(rows))


def _values(found: Backtest) -> dict[str, object]:
    return {
        "actions": [str(window.ruling.action) for window in found.windows],
        "reasons": [window.ruling.reason for window in found.windows],
        "kept": found.kept,
        "retrainings": {way.name: way.retrainings for way in found.ways},
    }
