"""The ledger holds on a real Postgres what it holds on SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from trimtab.errors import LedgerError, LedgerTamperedError
from trimtab.ledger import Ledger
from trimtab.records import Cause

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def cause(number: int, reason: str = "a test") -> Cause:
    return Cause(id=f"cause-{number}", model="loan", trigger="manual", reason=reason, as_of=NOW)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres server of this module's own; yields its SQLAlchemy URL."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("no Postgres server is installed (apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("postgres")
    as_owner: list[str] = []
    if os.geteuid() == 0:
        # Postgres refuses to run as root.
        shutil.chown(folder, "postgres", "postgres")
        for parent in folder.parents:
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o755)
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, binary = folder / "data", binaries[-1]
    run = {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run([*as_owner, binary / "initdb", "-A", "trust", "-U", "clerk", "-D", data], **run)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    control = [*as_owner, binary / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], **run)
    yield f"postgresql+psycopg://clerk@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **run)


@pytest.fixture
def ledger(postgres: str) -> Ledger:
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS ledger")
    return Ledger(postgres)


def test_records_come_back_once_and_in_order(ledger: Ledger) -> None:
    ledger.append(cause(1))
    ledger.append(cause(2))
    ledger.append(cause(1))
    assert ledger.records(Cause) == [cause(1), cause(2)]
    assert ledger.verify() == 2
    with pytest.raises(LedgerError, match="other content"):
        ledger.append(cause(1, reason="another"))


def test_many_writers_make_one_unbroken_chain(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.append(cause(number)), range(80)))
    assert ledger.verify() == 80


def test_the_database_refuses_changes_and_the_chain_shows_those_that_got_through(ledger: Ledger, postgres: str) -> None:
    for number in range(3):
        ledger.append(cause(number))
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute("DELETE FROM ledger")
        connection.execute("DROP TRIGGER ledger_refuses_change ON ledger")
        connection.execute("UPDATE ledger SET body = replace(body, 'a test', 'a lie') WHERE sequence = 2")
    with pytest.raises(LedgerTamperedError, match="entry 2"):
        ledger.verify()
