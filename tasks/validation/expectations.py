"""Expectations that Great Expectations lacks; a suite names them as it names its own, once this module is imported.

``expect_column_most_common_value_share_to_be_between``
    No value fills more (or less) of the column than it should: a sensor, a cache or a join that stands still, a default
    that upstream puts where it knows none. ``{"column": "temp", "max_value": 0.2}``
``expect_column_values_to_match_reference_units``
    The column did not come in another unit: its quantiles are not the reference's times 1000, 2.54, or in degrees of
    the other scale (trimtab/decay/units.py). ``{"column": "temp", "quantiles": [...], "nonzero_quantiles": [...]}``:
    the reference's at 0.02, 0.04, ... 0.98, of all values and of those that are not 0; `trimtab suggest-suite` draws
    them from a snapshot.

Both stand on metrics of Great Expectations' own, so they run wherever it runs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from great_expectations.compatibility.pydantic import validator
from great_expectations.expectations.expectation import ColumnAggregateExpectation

from trimtab.decay.rows import evenly
from trimtab.decay.soundness import LEVELS, ColumnSoundness
from trimtab.decay.units import find_conversion

QUANTILE_ROWS = 20_000
_COUNTS = "column.value_counts"


class ExpectColumnMostCommonValueShareToBeBetween(ColumnAggregateExpectation):
    """Expect the share that the most common value has of the column's values that are not null.

    Parameters
    ----------
    column : str
    min_value, max_value : float, optional
        From 0 to 1; the bounds belong to what is expected. A column without values meets any.
    """

    min_value: float | None = None
    max_value: float | None = None

    metric_dependencies: ClassVar[tuple[str, ...]] = (_COUNTS,)
    success_keys: ClassVar[tuple[str, ...]] = ("min_value", "max_value")

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        counts = metrics[_COUNTS]
        if not len(counts):
            return {"success": True, "result": {"observed_value": None}}
        share = float(counts.max() / counts.sum())
        held = (self.min_value is None or share >= self.min_value) and (
            self.max_value is None or share <= self.max_value
        )
        observed = f"{counts.idxmax()} in {share:.2%} of {int(counts.sum())} values"
        return {"success": held, "result": {"observed_value": observed}}


class ExpectColumnValuesToMatchReferenceUnits(ColumnAggregateExpectation):
    """Expect that no change of unit explains the column better than the reference itself does.

    Parameters
    ----------
    column : str
    quantiles, nonzero_quantiles : list of float
        The reference's at the levels 0.02, 0.04, ... 0.98, of all values, and of those that are not 0.
    largest_distance : float
        How far, in shares of rows, the values may be from the converted reference for the conversion to be believed.
    """

    quantiles: list[float]
    nonzero_quantiles: list[float] = []  # noqa: RUF012 (a pydantic field, copied for each instance)
    largest_distance: float = 0.1

    metric_dependencies: ClassVar[tuple[str, ...]] = (_COUNTS,)
    success_keys: ClassVar[tuple[str, ...]] = ("quantiles", "nonzero_quantiles", "largest_distance")

    @validator("quantiles", "nonzero_quantiles")
    def _has_all_levels(cls, value: list[float]) -> list[float]:  # noqa: N805 (pydantic's own form)
        if len(value) not in (0, len(LEVELS)) or value != sorted(value):
            raise ValueError(f"holds {len(value)} numbers; it must hold {len(LEVELS)} that ascend, or none")
        return value

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        counts = metrics[_COUNTS]
        distinct, times = counts.index.to_numpy(dtype=np.float64), counts.to_numpy(dtype=np.int64)
        # In order, so that so many evenly spaced ones have the same quantiles.
        order = np.argsort(distinct)
        values = np.repeat(distinct[order], times[order])
        values = values[evenly(len(values), QUANTILE_ROWS)]
        known = ColumnSoundness(
            column=self.column,
            quantiles=(tuple(self.quantiles),) if self.quantiles else (),
            nonzero=(tuple(self.nonzero_quantiles),) if self.nonzero_quantiles else (),
        )
        found = find_conversion(values[np.isfinite(values)], known, self.largest_distance)
        if found is None:
            return {"success": True, "result": {"observed_value": None}}
        observed = (
            f"the reference's {found.conversion}: median {found.reference_median:.6g} → {found.median:.6g}, "
            f"{found.distance:.1%} apart, and {found.before:.0%} without"
        )
        return {"success": False, "result": {"observed_value": observed}}
