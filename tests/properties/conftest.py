"""What the properties of the prediction log share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trimtab.predictions import log, profiles, scan, segments


@pytest.fixture(scope="module")
def small_parts() -> Iterator[None]:
    """Row groups of 3 rows, segments of about 8, of 3 pieces, and chunks of the spool of 5: few rows make many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "ROW_GROUP_ROWS", 3)
        patch.setattr(log, "SEGMENT_ROWS", 8)
        patch.setattr(profiles, "PIECES", 3)
        patch.setattr(scan, "_SPOOL_ROWS", 5)
        yield
