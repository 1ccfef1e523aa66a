"""Stored profiles stay readable: one of each format that was ever released."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from trimtab.decay.distance import compare
from trimtab.decay.profile import Profile, from_bytes, merge_stored, profile, to_bytes
from trimtab.errors import TrimtabError

SAMPLES = Path(__file__).parent / "samples"
WINDOW = pa.table({"x": [9.5, 1.5, None], "n": [1, 7, None], "c": ["a", "new", None], "b": [True, None, True]})


@pytest.mark.parametrize("version", [1, 2])
def test_a_reference_of_every_format_is_read_and_windows_are_compared_with_it(version: int) -> None:
    """Format 1 lacks sums: what needs them is unknown, never wrong."""
    reference = Profile.model_validate_json((SAMPLES / f"profile-{version}.json").read_text())
    assert reference.format_version == version
    assert [column.valid for column in reference.columns] == [4, 4, 4, 4]
    found = {one.column: one for one in compare(reference, profile(WINDOW, reference.bins()))}
    assert found["x"].ks == 0.5
    assert (found["x"].wasserstein_raw is None) == (version == 1)
    assert math.isnan(reference.column("x").deviation) == (version == 1)
    assert found["c"].new_categories == ("new",)
    assert found["c"].lost_categories == ("b", "c")


def test_profiles_of_both_formats_are_merged_without_what_one_of_them_lacks() -> None:
    """Counts are added; sums of half the rows would be wrong."""
    old, new = (
        Profile.model_validate_json((SAMPLES / f"profile-{version}.json").read_text()).column("x") for version in (1, 2)
    )
    both = old.merge(new)
    assert both.counts == tuple(2 * count for count in old.counts)
    assert (both.sums, both.ties, both.squares) == ((), (), 0.0)


def test_a_stored_hour_is_read() -> None:
    """It says what was counted when it was written."""
    bins = Profile.model_validate_json((SAMPLES / "profile-2.json").read_text()).bins()
    assert from_bytes((SAMPLES / "profile-2.arrow").read_bytes(), bins) == profile(WINDOW, bins)


def test_stored_hours_of_other_bins_and_without_sums_are_refused() -> None:
    """Counts that do not mean the same are not added, and format 1 is not stored compactly."""
    reference = Profile.model_validate_json((SAMPLES / "profile-2.json").read_text())
    with pytest.raises(TrimtabError, match="same reference's bins"):
        merge_stored([(SAMPLES / "profile-2.arrow").read_bytes()], reference.bins("x"))
    with pytest.raises(TrimtabError, match="has no sums"):
        to_bytes(Profile.model_validate_json((SAMPLES / "profile-1.json").read_text()))
