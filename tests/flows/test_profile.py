"""Sealed predictions are counted once, in threads or on a Dask cluster alike, and watch judges from what is stored."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from flows.profile import profile
from flows.watch import watch
from tasks.monitoring import open_window, profiling
from tasks.monitoring.measure import live_bins, reference_of
from tasks.runner import task_runner
from tests.flows.watched import OTHERS_WARNINGS, RELEASED, World, environment, make_world
from tests.profiles import same
from trimtab.decay.profile import Profile
from trimtab.errors import PredictionLogError
from trimtab.predictions import profiles
from trimtab.predictions.profiles import unprofiled, window_profile

DAY = timedelta(days=1)

pytestmark = [pytest.mark.usefixtures("prefect"), *OTHERS_WARNINGS]


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three segments of a day each, and a day in the spool."""
    for day in range(4):
        if day:
            world.log.seal()
        world.traffic(RELEASED + day * DAY, RELEASED + (day + 1) * DAY)
    monkeypatch.setattr(profiling, "CHUNK_SEGMENTS", 1)
    return world


def sequential(world: World) -> Profile:
    """The profile of all rows, counted one by one with nothing stored before; nothing is stored afterwards."""
    found = _found(world)
    shutil.rmtree(world.log.folder / "profiles")
    return found


def _found(world: World) -> Profile:
    return window_profile(world.log, RELEASED, RELEASED + 4 * DAY, _bins(), world.release.id)


def _bins():
    window = open_window.fn("loan", RELEASED + 4 * DAY)
    return live_bins(window, reference_of(window).profile)


def test_before_the_first_release_there_is_nothing_to_count_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is green and counts nothing."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    make_world(tmp_path, released=False)
    assert profile("loan") == 0


def test_threads_count_what_is_asked_for_and_not_yet_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is the sequential one; what is stored is not counted again."""
    wanted = sequential(world)
    assert profile("loan", end=RELEASED + DAY) == 240
    assert profile("loan") == 2 * 240
    assert profile("loan") == 0
    counted: list[int] = []
    real = profiles.profile
    monkeypatch.setattr(profiles, "profile", lambda rows, bins: counted.append(len(rows)) or real(rows, bins))
    assert same(_found(world), wanted)
    assert counted == [240, 240], "only the spool is read: features and score"


def test_a_dask_cluster_counts_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In workers, which are other processes, reached by the address that the setting names."""
    wanted = sequential(world)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("TRIMTAB_TASK_RUNNER", cluster.scheduler_address)
        home, real = os.getpid(), profiling.profile_segments

        def elsewhere(*given: Any) -> int:
            assert os.getpid() != home, "counted in the flow's own process"
            return real(*given)

        monkeypatch.setattr(profiling, "profile_segments", elsewhere)
        assert profile("loan") == 3 * 240
    assert unprofiled(world.log, _bins()) == []
    assert same(_found(world), wanted)


def test_dask_without_an_address_is_a_cluster_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started with the runner and ends with it."""
    monkeypatch.setenv("TRIMTAB_TASK_RUNNER", "dask")
    with task_runner() as runner:
        assert runner.client.submit(_process).result() != os.getpid()


def _process() -> int:
    return os.getpid()


def test_a_segment_that_is_gone_fails_the_run_by_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted before stays."""
    monkeypatch.setattr(profiling, "profile_chunk", profiling.profile_chunk.with_options(retries=0))
    gone = world.log.spans()[1]
    gone.path.unlink()
    with pytest.raises(PredictionLogError, match=f"segment .*{gone.name} is gone"):
        profile("loan")
    assert [span.name for span in unprofiled(world.log, _bins())] == [gone.name]


def test_watch_judges_from_what_is_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts what it has sealed, and a second window over the same rows counts nothing."""
    first = watch("loan", as_of=RELEASED + 4 * DAY)
    assert first is not None
    assert len(list((world.log.folder / "profiles").glob("*/*.arrow"))) == 2, "the window's days, not all days"

    def again(*_: object) -> Profile:
        raise AssertionError("rows were counted again")

    monkeypatch.setattr(profiles, "profile", again)
    second = watch("loan", as_of=RELEASED + 4 * DAY + timedelta(hours=1))
    assert second is not None
    assert {"drift.income", "drift.score"} <= {signal.name for signal in second.signals}
