"""What the flow tests share: one Prefect server, and a world of the loan model of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.flows.watched import World, environment, make_world
from trimtab.services import Supervisor
from trimtab.services.definitions import prefect_server
from trimtab.settings import Settings


@pytest.fixture(scope="session")
def prefect_api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prefect server that stands for all flow tests of this process; nothing is deployed on it."""
    env = {"TRIMTAB_HOME": str(tmp_path_factory.mktemp("prefect")), "TRIMTAB_PREFECT_URL": "http://127.0.0.1:0"}
    with Supervisor(Settings.from_env(env), str, lambda settings, _: [prefect_server(settings)]) as supervisor:
        yield supervisor.settings.prefect_api_url


@pytest.fixture(scope="module")
def prefect(prefect_api_url: str) -> Iterator[None]:
    """Flows that this module calls run on that server."""
    with temporary_settings({PREFECT_API_URL: prefect_api_url}):
        yield


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The loan model, released in an empty home that the settings name."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return make_world(tmp_path)
