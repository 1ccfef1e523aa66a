"""The groups of a model's protected attributes, and what is measured of them on a window."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import scores_of
from trimtab.decay.fairness import Gap, Selection, gaps, selection
from trimtab.decay.performance import one_score
from trimtab.decay.reference import OUTCOME
from trimtab.decay.slices import Groups, group_rows
from trimtab.spec import ModelSpec


def selections_of(spec: ModelSpec, incoming: pa.Table) -> tuple[Selection, ...]:
    """How often each protected group is given label 1; nothing but for a binary target: of several
    classes none is the one that is selected."""
    if spec.target.kind != "binary" or not incoming.num_rows:
        return ()
    selected = scores_of(spec, incoming) >= spec.serving.decision_threshold
    least = spec.policy.fairness.minimum_group_rows
    return tuple(selection(name, groups, selected, least) for name, groups in protected_groups(spec, incoming))


def gaps_of(spec: ModelSpec, known: pa.Table) -> tuple[Gap, ...]:
    """How rates and calibration differ between protected groups, on mature rows with an outcome."""
    if not known.num_rows:
        return ()
    scores, outcomes = scores_of(spec, known), np.asarray(known[OUTCOME].to_numpy(), dtype=np.float64)
    selected = scores >= spec.serving.decision_threshold if spec.target.kind == "binary" else None
    least = spec.policy.fairness.minimum_group_rows
    said, happened = one_score(scores, outcomes)
    return tuple(
        gap
        for name, groups in protected_groups(spec, known)
        for gap in gaps(name, groups, said, happened, selected, least)
    )


def protected_groups(spec: ModelSpec, rows: pa.Table) -> Iterator[tuple[str, Groups]]:
    """Each protected attribute with its groups, then each pair of them where the spec asks for intersections."""
    types = {feature.name: feature.type for feature in spec.features}
    single = {name: group_rows(rows[name], types[name]) for name in spec.protected}
    yield from single.items()
    if spec.policy.fairness.intersections:
        for one, other in itertools.combinations(single, 2):
            yield f"{one} x {other}", single[one].cross(single[other])
