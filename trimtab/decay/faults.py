"""Data faults: rows that are broken, told apart from a world that changed.

==================  ================================================================================================
frozen              one value in far more of a column's rows than in any span of the reference, or in a long run of
                    consecutive ones: a sensor, a cache or a join that stands still
default             a value that upstream puts where it knows none (0, -1, 999, 1900-01-01, "unknown") was rare and
                    now is not, while no other new value is
units               the column's quantiles are the reference's after a conversion, and not without (units.py)
duplicates          rows are equal in all features, far more often than in the reference
repeated_requests   rows are equal in all features and in their event time
row_count           far fewer or more rows than in the spans before
stale               no row came for long before the end of the window
stuck_outcomes      outcomes, not features, stand still: a feed that writes its default (stuck_outcomes.py)
==================  ================================================================================================

What is natural is what the training rows showed in their own spans (soundness.py): rain is 0 for days, the hour stands
still for an hour. Honest drift makes no value stand out of its neighbours, and keeps to no known conversion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa

from trimtab.decay.atoms import SHARE_ROWS, Atoms, Fault, default, frozen
from trimtab.decay.rows import Coded, code, code_all, evenly, mix, repeated_share, time_order
from trimtab.decay.soundness import BLOCK_ROWS, ColumnSoundness, Soundness
from trimtab.decay.units import find_conversion
from trimtab.spec import FaultRule, Feature, ModelSpec

BLOCKS = 5
LEAST_VALUES = 50
"""With fewer values of a column nothing is said of it."""
_STANDS_OUT = 3.0
_ALIKE = 0.05
"""Where more of the reference's rows are alike, features do not tell rows apart, and a change of mix repeats more."""


def find_faults(
    spec: ModelSpec, sound: Soundness, training: pa.Table, incoming: pa.Table, as_of: datetime, before: Sequence[int]
) -> tuple[Fault, ...]:
    """All data faults of a window that need a reference to be told.

    Parameters
    ----------
    spec
        The model's spec; ``spec.policy.faults`` holds the thresholds.
    sound
        What the training rows looked like, span by span.
    training
        The features of a sample of the training rows.
    incoming
        The window's rows: ``event_time`` and the features.
    as_of
        The end of the window.
    before
        Rows of the spans of the same length just before the window.
    """
    rule = spec.policy.faults
    found = [*_row_count(rule, incoming.num_rows, before, spec.policy.minimum_rows)]
    if incoming.num_rows:
        incoming = incoming.take(time_order(incoming["event_time"]))
        coded = code_all(incoming, spec.features)
        found += _stale(rule, spec, sound, incoming, as_of)
        for feature in spec.features:
            known = sound.column(feature.name)
            if known is not None:
                found += _of_column(rule, feature, known, sound, training, coded[feature.name])
        # Rows that one value fills are alike by that: it is told already.
        filled = any(fault.kind in ("frozen", "default") for fault in found)
        found += _repeats(rule, sound, incoming, [column.values for column in coded.values()], filled)
    return tuple(found)


def _of_column(
    rule: FaultRule, feature: Feature, known: ColumnSoundness, sound: Soundness, training: pa.Table, column: Coded
) -> Iterator[Fault]:
    values = column.present
    if len(values) < LEAST_VALUES:
        return
    theirs = _as_ours(code(training[feature.name], feature), column)
    sampled = values[evenly(len(values), SHARE_ROWS)]
    atoms = Atoms(column, sampled, theirs)
    filler = next(default(rule, feature.name, atoms), None) if rule.asks("default", feature.name) else None
    if filler is not None:
        yield filler
    elif rule.asks("frozen", feature.name):
        yield from frozen(rule, feature.name, known, sound, atoms, column)
    if column.labels is None and rule.asks("units", feature.name) and rule.units_distance is not None:
        found = find_conversion(sampled, known, rule.units_distance)
        if found is not None:
            yield Fault(
                kind="units",
                column=feature.name,
                value=found.distance,
                threshold=rule.units_distance,
                rows=len(values),
                detail=f"median {found.reference_median:.6g} → {found.median:.6g}: the values are those at training "
                f"{found.conversion}, to within {found.distance:.1%} of rows, and {found.before:.0%} apart without",
            )


def _repeats(
    rule: FaultRule, sound: Soundness, incoming: pa.Table, columns: Sequence[np.ndarray], filled: bool
) -> Iterator[Fault]:
    # The more rows, the more of them are alike by chance: repeats are counted in as many rows as in the reference.
    length = min(incoming.num_rows, max(1, min(sound.block, BLOCK_ROWS)))
    starts = evenly(incoming.num_rows - length + 1, BLOCKS)
    times = incoming["event_time"].cast(pa.int64()).to_numpy()
    alike = mix(columns)
    again = mix([alike.view(np.int64), times])
    for kind, hashes, was, same in (
        ("repeated_requests", again, sound.repeated_requests, "all features and the event time"),
        ("duplicates", alike, sound.repeated, "all features"),
    ):
        if rule.duplicate_share is None or not rule.asks(kind):
            continue
        if kind == "duplicates" and (filled or was > _ALIKE):
            continue
        share = float(np.mean([repeated_share(hashes[start : start + length]) for start in starts]))
        least = max(rule.duplicate_share, _STANDS_OUT * was)
        if share >= least:
            yield Fault(
                kind=kind,
                value=share,
                threshold=least,
                rows=incoming.num_rows,
                detail=f"{share:.1%} of rows are equal to an earlier one in {same}; {was:.1%} at most in the reference",
            )
            return


def _row_count(rule: FaultRule, rows: int, before: Sequence[int], minimum_rows: int) -> Iterator[Fault]:
    enough = [count for count in before if count >= minimum_rows]
    if rule.row_count_factor is None or not rule.asks("row_count") or len(enough) < 2:
        return
    least, most = min(enough) / rule.row_count_factor, max(enough) * rule.row_count_factor
    if not least <= rows <= most:
        yield Fault(
            kind="row_count",
            value=rows,
            threshold=least if rows < least else most,
            rows=rows,
            detail=f"{rows:,} rows; the {len(enough)} spans before had {min(enough):,} to {max(enough):,}",
        )


def _stale(rule: FaultRule, spec: ModelSpec, sound: Soundness, incoming: pa.Table, as_of: datetime) -> Iterator[Fault]:
    if rule.stale_share is None or not rule.asks("stale"):
        return
    newest = incoming["event_time"][-1].as_py()
    silent_s = (as_of - newest).total_seconds()
    least = max(rule.stale_share * spec.window.total_seconds(), _STANDS_OUT * sound.longest_gap_s)
    if silent_s > least:
        yield Fault(
            kind="stale",
            value=silent_s / 3600,
            threshold=least / 3600,
            rows=incoming.num_rows,
            detail=f"the newest row is of {newest:%Y-%m-%d %H:%M}, {silent_s / 3600:.1f} hours before "
            f"{as_of:%Y-%m-%d %H:%M}",
        )


def _as_ours(theirs: Coded, ours: Coded) -> np.ndarray:
    """The reference's values under the codes of the window; a label that the window lacks is -1."""
    if ours.labels is None or theirs.labels is None:
        return theirs.present
    codes = {label: position for position, label in enumerate(ours.labels)}
    return np.asarray([codes.get(label, -1) for label in theirs.labels], dtype=np.float64)[
        theirs.present.astype(np.int64)
    ]
