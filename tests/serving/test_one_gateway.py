"""A home has one gateway: a second is refused before it listens, and takes over as soon as the first is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.errors import ServiceUnavailableError
from trimtab.serving.files import only_gateway_of
from trimtab.settings import Settings


def test_a_second_gateway_of_a_home_is_refused_by_name(tmp_path: Path) -> None:
    """It says which process serves and from where, and ends with 1; the first goes on holding."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_GATEWAY_URL": "http://127.0.0.1:1"})
    command = [sys.executable, "-m", "trimtab.serving", "--port", "0"]
    with only_gateway_of(tmp_path):
        second = subprocess.run(
            command, env={**os.environ, **settings.as_env()}, capture_output=True, text=True, timeout=180, check=False
        )
    assert second.returncode == 1
    assert f"a gateway (process {os.getpid()}) serves from {tmp_path} already" in second.stderr
    with only_gateway_of(tmp_path):
        pass


def test_one_that_stops_is_waited_for(tmp_path: Path) -> None:
    """The next gateway of a home takes it over when the one before has answered its last request; else it gives up."""
    with ThreadPoolExecutor(1) as thread, only_gateway_of(tmp_path) as say_stopping:
        say_stopping()
        hurried, next_one = only_gateway_of(tmp_path, wait_s=0.0), only_gateway_of(tmp_path)
        with pytest.raises(ServiceUnavailableError, match=f"process {os.getpid()}, stopping"):
            hurried.__enter__()
        taken = thread.submit(next_one.__enter__)
    taken.result()
    assert (tmp_path / "gateway.lock").read_text() == str(os.getpid())
    next_one.__exit__(None, None, None)


def test_a_killed_gateway_holds_nothing(tmp_path: Path) -> None:
    """The lock goes with its process, however that ended; another home was never held."""
    holder = (
        "import sys, time; from pathlib import Path; from trimtab.serving.files import only_gateway_of\n"
        "with only_gateway_of(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ServiceUnavailableError, match=f"process {process.pid}"), only_gateway_of(tmp_path):
            pass
        with only_gateway_of(tmp_path / "other"):
            pass
        process.kill()
        process.wait()
    with only_gateway_of(tmp_path):
        pass
