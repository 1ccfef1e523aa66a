"""NannyML's public data: its corrupted car loans are broken, its sound data is not, though it drifts for years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from trimtab.decay.measuring import WindowRows, measure
from trimtab.decay.profile import profile
from trimtab.decay.reference import Reference, write_reference
from trimtab.decay.signals import signals
from trimtab.records import Signal
from trimtab.spec import Feature, ModelSpec, Target, Trainer

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "nannyml"
START, STEP = datetime(2020, 1, 1, tzinfo=UTC), timedelta(seconds=10)
CHUNK = 5_000

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/nannyml is not there")

CAR = {
    **{"car_value": "number", "salary_range": "category", "debt_to_income_ratio": "number", "loan_length": "number"},
    **{"repaid_loan_on_prev_car": "boolean", "size_of_downpayment": "category", "driver_tenure": "number"},
}
CENSUS: dict[str, Any] = {
    "AGEP": "number",
    **dict.fromkeys(
        ("SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "SEX", "RAC1P"),
        "category",
    ),
}


def spec_of(types: dict[str, Any]) -> ModelSpec:
    return ModelSpec(
        name="yardstick",
        source="data:load",
        target=Target(name="y"),
        features=tuple(Feature(name=name, type=kind) for name, kind in types.items()),
        suite="none",
        trainers=(Trainer(name="one", function="training:one"),),
        window=CHUNK * STEP,
    )


def rows_of(name: str, spec: ModelSpec, score: str, first: int = 0) -> pa.Table:
    """Rows of a file in their order, ten seconds apart."""
    read = pq.read_table(DATA / f"{name}.parquet")
    kinds = {"number": pa.float64(), "category": pa.string(), "boolean": pa.bool_()}
    columns = {one.name: pc.cast(read[one.name], kinds[one.type]) for one in spec.features}
    times = [START + (first + at) * STEP for at in range(read.num_rows)]
    return pa.table(
        {"event_time": pa.array(times, pa.timestamp("us", tz="UTC")), **columns, "score": read[score], "y": read[score]}
    )


def faults(spec: ModelSpec, reference: Reference, rows: pa.Table) -> list[Signal]:
    """All breached signals of broken data in a chunk."""
    start = rows["event_time"][0].as_py()
    end = start + rows.num_rows * STEP
    window = WindowRows(
        start=start,
        end=end,
        as_of=end,
        incoming=rows,
        profile=profile(rows, reference.profile.bins()),
        mature=rows.slice(0, 0).append_column("outcome", pa.array([], pa.float64())),
        rows_before=(rows.num_rows,) * 3,
    )
    found = signals(spec, measure(spec, reference, window))
    return [one for one in found if one.breached and one.name.startswith(("fault.", "null_rise."))]


def reference_of(folder: Path, spec: ModelSpec, name: str, score: str) -> tuple[Reference, int]:
    rows = rows_of(name, spec, score)
    judged = rows.drop_columns(["score"])
    return write_reference(folder, spec, rows, judged, np.asarray(rows["score"].to_numpy())), rows.num_rows


def test_the_corrupted_car_loans_are_broken(tmp_path: Path) -> None:
    """Nulls in two columns, 10 % and then 22 %: in every chunk against a reference without, and as a whole."""
    spec = spec_of(CAR)
    reference, first = reference_of(tmp_path, spec, "synthetic_car_loan_reference", "y_pred_proba")
    broken = rows_of("synthetic_car_loan_dq_analysis", spec, "y_pred_proba", first)
    for at in range(0, broken.num_rows, CHUNK):
        found = faults(spec, reference, broken.slice(at, CHUNK))
        assert {one.name for one in found} == {"null_rise.salary_range", "null_rise.driver_tenure"}, at
    assert {one.detail for one in faults(spec, reference, broken)} == {"0.0% → 16.0% missing"}


def test_against_their_own_reference_the_loans_break_where_the_nulls_double(tmp_path: Path) -> None:
    """That reference lacks 10 % itself: the first half is as it was, the second is not."""
    spec = spec_of(CAR)
    reference, first = reference_of(tmp_path, spec, "synthetic_car_loan_dq_reference", "y_pred_proba")
    broken = rows_of("synthetic_car_loan_dq_analysis", spec, "y_pred_proba", first)
    found = [len(faults(spec, reference, broken.slice(at, CHUNK))) for at in range(0, broken.num_rows, CHUNK)]
    assert found == [0] * 5 + [2] * 5


def test_the_sound_car_loans_have_no_fault(tmp_path: Path) -> None:
    """Though the second half has drifted until performance falls."""
    spec = spec_of(CAR)
    reference, first = reference_of(tmp_path, spec, "synthetic_car_loan_reference", "y_pred_proba")
    sound = rows_of("synthetic_car_loan_analysis", spec, "y_pred_proba", first)
    for at in range(0, sound.num_rows, CHUNK):
        assert faults(spec, reference, sound.slice(at, CHUNK)) == [], at


def test_three_years_of_the_census_have_no_fault(tmp_path: Path) -> None:
    """Categories in plenty, rows that are alike by nature, in an order that is none of time."""
    spec = spec_of(CENSUS)
    reference, first = reference_of(tmp_path, spec, "employment_MA_reference", "predicted_probability")
    sound = rows_of("employment_MA_analysis", spec, "predicted_probability", first)
    for at in range(0, sound.num_rows - CHUNK, CHUNK):
        assert faults(spec, reference, sound.slice(at, CHUNK)) == [], at
