"""Profiles in tests."""

from __future__ import annotations

import numpy as np

from trimtab.decay.profile import Profile


def same(one: Profile, other: Profile) -> bool:
    """Equal but for the rounding of sums."""
    rounded = {"total": 0.0, "sums": (), "squares": 0.0}
    exact = [[column.model_copy(update=rounded) for column in found.columns] for found in (one, other)]
    return exact[0] == exact[1] and all(
        np.allclose(x, y, rtol=1e-9, atol=1e-14 * len(a.counts) * max(1.0, a.squares**0.5) * max(1, a.valid))
        for a, b in zip(one.columns, other.columns, strict=True)
        for x, y in ((a.total, b.total), (a.sums, b.sums))
    )
