"""A retrain that is killed between any two of its steps, and run again, ends as if it had never been killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

from tests.loop.stack import Stack
from trimtab.processes import ProcessRuntime
from trimtab.records import Candidate, Release, Version
from trimtab.services import environment

ROOT = Path(__file__).parents[2]
FIRST = datetime(2024, 2, 20, tzinfo=UTC)
SECOND = datetime(2024, 3, 8, tzinfo=UTC)


class Killer:
    """Runs the second retraining, killed after a number of its steps."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process, self._errors = process, errors

    def run(self, steps: int) -> tuple[int, list[str]]:
        """The exit status of the run, and the steps that ended before it was killed."""
        _pipe(self._process.stdin).write(f"{steps}\n")
        _pipe(self._process.stdin).flush()
        answer = _pipe(self._process.stdout).readline()
        assert answer, self._errors.read_text()[-3000:]
        ended = json.loads(answer)
        assert ended["status"] in (0, -9), self._errors.read_text()[-3000:]
        return ended["status"], ended["steps"]


@contextmanager
def killer(stack: Stack, errors: Path) -> Iterator[Killer]:
    command = [sys.executable, "-m", "tests.loop.killed", SECOND.isoformat(), "second"]
    env = {**os.environ, **environment(stack.settings), "PREFECT_LOGGING_LEVEL": "ERROR"}
    with (
        errors.open("w") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        yield Killer(process, errors)
        _pipe(process.stdin).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.mark.timeout(420)
def test_a_retrain_killed_between_any_two_steps_is_finished_by_running_it_again(stack: Stack, tmp_path: Path) -> None:
    stack.succeed("retrain/loan", as_of=FIRST.isoformat(), reason="first release")
    loans = stack.model.function("data:load")(SECOND, SECOND + timedelta(hours=1), SECOND + timedelta(days=1))

    with killer(stack, tmp_path / "killed.log") as again:
        status, done = again.run(1)
        while status == -9:
            # Whatever was under way, callers are served: by the old version until the new one is in place.
            assert stack.predict(loans)["model_version"] == ("2" if "switch_route" in done else "1"), done
            assert stack.champion_alias() == ("2" if "promote" in done else "1"), done
            killed, (status, done) = done, again.run(len(done) + 1)
    assert len(killed) > 15, killed
    assert killed[-1] == "record", "the run was killed after its very last step, too"
    assert done == ["record"], "a cause whose retraining has ended is not retrained again"

    releases = stack.ledger.records(Release, "loan")
    assert len(releases) == 2
    assert [retraining.release_id for retraining in stack.retrainings()] == [release.id for release in releases]
    assert len(stack.ledger.records(Candidate, "loan")) == 2
    assert [version.version for version in stack.ledger.records(Version, "loan")] == ["1", "2"]
    assert stack.champion_alias() == "2"
    assert stack.gateway.metadata("loan")["artifact_digest"] == releases[1].artifact_digest
    assert list(ProcessRuntime(stack.settings.releases_dir).running("loan")) == [releases[1].id]
    stack.ledger.verify()
