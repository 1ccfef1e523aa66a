"""Where the time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by stage, in the order in which the stages first came."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._began = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time within to this stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds to a stage; negative ones take them back."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    @property
    def total_s(self) -> float:
        """Seconds since this watch was made."""
        return time.monotonic() - self._began
