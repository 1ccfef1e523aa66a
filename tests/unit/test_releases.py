"""What a rollback brings back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import RolloutError
from trimtab.records import Release
from trimtab.release.history import served_versions, version_to_restore


def release(number: int, version: str, cause_id: str = "") -> Release:
    return Release(
        id=f"release-{number}",
        model="loan",
        version=version,
        version_id=f"version-{version}",
        candidate_id=f"candidate-{version}",
        image_id=f"image-{version}",
        artifact_digest="0",
        runtime="process",
        endpoint="",
        cause_id=cause_id or f"cause-{number}",
        since=datetime(2024, 1, 1, tzinfo=UTC),
    )


def test_the_version_before_the_one_that_serves_is_brought_back() -> None:
    """Without a wish, it is the version that served last before."""
    assert version_to_restore([release(1, "1"), release(2, "2")], set(), "cause-9", None) == "1"


def test_going_back_twice_goes_back_two_versions() -> None:
    """The version that a rollback left is not what the next one returns to."""
    releases = [release(1, "1"), release(2, "2"), release(3, "3"), release(4, "2")]
    assert version_to_restore(releases, {"cause-4"}, "cause-9", None) == "1"


def test_what_a_cause_brought_back_stays_its_answer() -> None:
    """A run that is repeated after its release was recorded finds the same version."""
    releases = [release(1, "1"), release(2, "2"), release(3, "1")]
    assert version_to_restore(releases, {"cause-3"}, "cause-3", None) == "1"


@pytest.mark.parametrize(
    ("releases", "to_version", "says"),
    [
        ([], None, "nothing was ever released"),
        ([release(1, "1")], None, "no version of loan served before version 1"),
        ([release(1, "1"), release(2, "2")], "7", "never released; those that were: \\['1', '2'\\]"),
        ([release(1, "1"), release(2, "2")], "2", "serves already"),
    ],
)
def test_what_cannot_be_brought_back_is_refused(releases: list[Release], to_version: str | None, says: str) -> None:
    """The error says what there is."""
    with pytest.raises(RolloutError, match=says):
        version_to_restore(releases, set(), "cause-9", to_version)


@given(st.lists(st.sampled_from("1234"), min_size=1), st.sets(st.integers(0, 30)))
def test_what_serves_is_always_the_last_of_what_is_trusted(versions: list[str], rollbacks: set[int]) -> None:
    """Whatever was released and rolled back, the last trusted version serves, and none follows itself."""
    releases = [release(number, version) for number, version in enumerate(versions)]
    served = served_versions(releases, {f"cause-{number}" for number in rollbacks})
    assert served[-1] == versions[-1]
    assert all(one != other for one, other in itertools.pairwise(served))
