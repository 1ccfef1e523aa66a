"""Sums and counts of bins that threads can make at once are those that numpy makes."""

import numpy as np
import pytest

from trimtab.decay.profile.binning import CHUNK, counts_of_bins, sums_of_bins


@pytest.mark.parametrize("rows", [0, 1, 32_767, 32_768, CHUNK])
@pytest.mark.parametrize("size", [1, 2, 1030, 16_002])
def test_they_are_equal_to_the_last_bit(rows, size):
    random = np.random.default_rng(rows + size)
    found = random.integers(0, size, rows).astype(np.int32)
    weights = random.normal(size=rows) * 10.0 ** random.uniform(-300, 300, rows)
    assert (sums_of_bins(found, weights, size) == np.bincount(found, weights=weights, minlength=size)).all()
    counts = counts_of_bins(found, size)
    assert counts.dtype == np.int64
    assert (counts == np.bincount(found, minlength=size)).all()


def test_what_is_too_large_for_a_float_is_infinite_in_its_bin_alone():
    found = np.zeros(CHUNK, dtype=np.int32)
    found[:4] = [1, 1, 2, 2]
    weights = np.ones(CHUNK)
    weights[:4] = [1e308, 1e308, np.inf, -np.inf]
    with np.errstate(over="ignore", invalid="ignore"):
        assert sums_of_bins(found, weights, 3).tolist()[:2] == [CHUNK - 4, np.inf]
        assert np.isnan(sums_of_bins(found, weights, 3)[2])
