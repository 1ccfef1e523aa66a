"""The ledger's database: its table, the hash of a row, and how it is opened. What it means is in ``ledger.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError

from trimtab.errors import LedgerError, LedgerUnavailableError

GENESIS = "0" * 64
"""What stands for the hash before the first row."""

_LOCK_TIMEOUT_S = 30
_POSTGRES_LOCK = 0x7472696D746162
_COVERED = ("sequence", "id", "kind", "model", "parents", "flow_run_id", "recorded_at", "body", "previous_hash")

_metadata = sa.MetaData()
entries = sa.Table(
    "ledger",
    _metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("parents", sa.Text, nullable=False),
    sa.Column("flow_run_id", sa.String(64), nullable=False),
    sa.Column("recorded_at", sa.String(40), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ledger_by_model_and_kind", "model", "kind", "sequence"),
)

# "Nothing is ever updated" is kept by the database itself, against honest mistakes; the hashes tell of the others.
_REFUSE_CHANGES = {
    "sqlite": tuple(
        f"CREATE TRIGGER ledger_refuses_{change.lower()} BEFORE {change} ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for change in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION ledger_refuses() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER ledger_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuses()",
    ),
}


class Database:
    """The database of a ledger, opened; its table is made on first use.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: ``sqlite:///path`` or ``postgresql+psycopg://...``.

    Raises
    ------
    LedgerUnavailableError
        If it cannot be reached or is no database; from every method, too.
    LedgerError
        If the URL is none.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.make_url(url)
            # Without a pool no connection outlives its use: a ledger needs no closing.
            self._engine = sa.create_engine(self._url, poolclass=sa.NullPool, connect_args=_connect_args(self._url))
        except ArgumentError as error:
            # Not with its value: it may hold a password.
            raise LedgerError("TRIMTAB_LEDGER_URL is no database URL; it must be like sqlite:///path") from error
        if self._url.get_backend_name() == "sqlite":
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin)
            if self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        with self.writing() as connection:
            if not sa.inspect(connection).has_table(entries.name):
                _metadata.create_all(connection)
                for statement in _REFUSE_CHANGES.get(connection.dialect.name, ()):
                    connection.exec_driver_sql(statement)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction of the one writer that there is at a time: the chain has one end."""
        with self._answering(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with; it waits for no writer."""
        with self._answering(), self._engine.connect().execution_options(reading=True) as connection:
            yield connection

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            where = self._url.render_as_string()
            raise LedgerUnavailableError(f"the ledger at {where} does not answer: {error.orig}") from error


def row_hash(values: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of all that a row states and of the hash before it."""
    covered = [values[name] for name in _COVERED]
    return hashlib.sha256(json.dumps(covered, separators=(",", ":")).encode()).hexdigest()


def _connect_args(url: sa.URL) -> dict[str, Any]:
    return {"timeout": _LOCK_TIMEOUT_S} if url.get_backend_name() == "sqlite" else {}


def _configure_sqlite(connection: Any, _: Any) -> None:
    # SQLAlchemy must not begin for us: a read that later writes could not take the lock.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
