"""The ledger: an append-only, hash-chained table in which every record stands with the records that it follows from.

SQLite by default, Postgres by URL. Each row holds the SHA-256 of the row before, its own sequence number and its own
content, so that a changed, removed or inserted row breaks the chain. Nothing is ever updated; lineage is a walk over
parents. A record is known by its id: stating the same record again changes nothing (steps may run twice), stating
another one under the same id is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from trimtab.errors import LedgerError, LedgerTamperedError, LedgerUnavailableError
from trimtab.records import RECORDS, Record

_GENESIS = "0" * 64
_LOCK_TIMEOUT_S = 30
_POSTGRES_LOCK = 0x7472696D746162

_metadata = sa.MetaData()
_entries = sa.Table(
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

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it stands in the ledger."""

    sequence: int
    record: Record
    parents: tuple[str, ...]
    flow_run_id: str
    recorded_at: datetime
    hash: str


class Ledger:
    """Append-only memory of all that was decided and done.

    Safe for many processes: writers are serialised by the database. The table is made on first use.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: ``sqlite:///path`` or ``postgresql+psycopg://...``.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        engine_url = sa.make_url(url)
        if engine_url.get_backend_name() == "sqlite" and engine_url.database:
            Path(engine_url.database).parent.mkdir(parents=True, exist_ok=True)
        # Without a pool no connection outlives its use: a ledger needs no closing.
        self._engine = sa.create_engine(engine_url, poolclass=sa.NullPool, connect_args=_connect_args(engine_url))
        if engine_url.get_backend_name() == "sqlite":
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin)
        with self._writing() as connection:
            if not sa.inspect(connection).has_table(_entries.name):
                _metadata.create_all(connection)
                for statement in _REFUSE_CHANGES.get(connection.dialect.name, ()):
                    connection.exec_driver_sql(statement)

    def append(self, record: Record, flow_run_id: str = "") -> Entry:
        """State a record; stating it again returns the entry that is there.

        Raises
        ------
        LedgerError
            If another record stands under this id, a parent is not on record, or the database does not answer.
        """
        parents = record.parents()
        body = record.model_dump_json()
        with self._writing() as connection:
            if (known := self._row(connection, record.id)) is not None:
                if known.kind != record.kind or json.loads(known.body) != json.loads(body):
                    raise LedgerError(f"{record.id} is on record with other content; a record is never changed")
                return _entry(known)
            for parent in parents:
                if self._row(connection, parent) is None:
                    raise LedgerError(f"{record.kind} {record.id} follows from {parent}, which is not on record")
            last = connection.execute(
                sa.select(_entries.c.sequence, _entries.c.hash).order_by(_entries.c.sequence.desc()).limit(1)
            ).first()
            values: dict[str, Any] = {
                "sequence": last.sequence + 1 if last else 1,
                "id": record.id,
                "kind": record.kind,
                "model": record.model,
                "parents": json.dumps(parents),
                "flow_run_id": flow_run_id,
                "recorded_at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "body": body,
                "previous_hash": last.hash if last else _GENESIS,
            }
            values["hash"] = _hash(values)
            connection.execute(_entries.insert().values(**values))
        return Entry(
            values["sequence"],
            record,
            parents,
            flow_run_id,
            datetime.fromisoformat(values["recorded_at"]),
            values["hash"],
        )

    def get(self, record_id: str) -> Entry:
        """The entry of that id.

        Raises
        ------
        LedgerError
            If there is none.
        """
        with self._reading() as connection:
            row = self._row(connection, record_id)
        if row is None:
            raise LedgerError(f"nothing is on record under {record_id!r}")
        return _entry(row)

    def find(self, kind: type[R], record_id: str) -> R | None:
        """The record of that kind and id, or None."""
        with self._reading() as connection:
            row = self._row(connection, record_id)
        if row is None:
            return None
        record = _entry(row).record
        return record if isinstance(record, kind) else None

    def records(self, kind: type[R], model: str | None = None) -> list[R]:
        """All records of a kind, oldest first."""
        return [entry.record for entry in self.entries(kind, model)]  # type: ignore[misc]

    def latest(self, kind: type[R], model: str) -> R | None:
        """The newest record of a kind of a model, or None."""
        query = (
            sa.select(_entries)
            .where(_entries.c.kind == kind.kind, _entries.c.model == model)
            .order_by(_entries.c.sequence.desc())
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _entry(row).record  # type: ignore[return-value]

    def entries(self, kind: type[Record] | None = None, model: str | None = None) -> list[Entry]:
        """All entries, of a kind and of a model if asked for, oldest first."""
        query = sa.select(_entries).order_by(_entries.c.sequence)
        if kind is not None:
            query = query.where(_entries.c.kind == kind.kind)
        if model is not None:
            query = query.where(_entries.c.model == model)
        with self._reading() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def ancestors(self, record_id: str) -> list[Entry]:
        """The record and all that it follows from, newest first, each once.

        Raises
        ------
        LedgerError
            If nothing is on record under the id.
        """
        found: dict[str, Entry] = {}
        waiting = [record_id]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found[current] = self.get(current)
                waiting.extend(found[current].parents)
        return sorted(found.values(), key=lambda entry: -entry.sequence)

    def verify(self) -> int:
        """Check every hash from the first entry on.

        Returns
        -------
        int
            The number of entries checked.

        Raises
        ------
        LedgerTamperedError
            At the first entry that was changed, removed or inserted, naming it.
        """
        expected_hash, expected_sequence = _GENESIS, 1
        with self._reading() as connection:
            for row in connection.execute(sa.select(_entries).order_by(_entries.c.sequence)).mappings():
                values = dict(row)
                if values["sequence"] != expected_sequence:
                    raise LedgerTamperedError(
                        f"entry {expected_sequence} is gone: "
                        f"after entry {expected_sequence - 1} comes {values['sequence']}"
                    )
                if values["previous_hash"] != expected_hash or values["hash"] != _hash(values):
                    raise LedgerTamperedError(
                        f"entry {values['sequence']} ({values['kind']} {values['id']}) was altered: "
                        "its hash is not that of its content"
                    )
                expected_hash, expected_sequence = values["hash"], expected_sequence + 1
        return expected_sequence - 1

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the newest entry; kept elsewhere, they prove that the end was not cut off."""
        query = sa.select(_entries.c.sequence, _entries.c.hash).order_by(_entries.c.sequence.desc()).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return (0, _GENESIS) if row is None else (row.sequence, row.hash)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One writer at a time: the chain has one end."""
        with self._answering(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._answering(), self._engine.connect().execution_options(reading=True) as connection:
            yield connection

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            where = self._engine.url.render_as_string()
            raise LedgerUnavailableError(f"the ledger at {where} does not answer: {error.orig}") from error

    @staticmethod
    def _row(connection: sa.Connection, record_id: str) -> Any:
        return connection.execute(sa.select(_entries).where(_entries.c.id == record_id)).first()


def _entry(row: Any) -> Entry:
    record = RECORDS[row.kind].model_validate_json(row.body)
    return Entry(
        row.sequence,
        record,
        tuple(json.loads(row.parents)),
        row.flow_run_id,
        datetime.fromisoformat(row.recorded_at),
        row.hash,
    )


def _hash(values: dict[str, Any]) -> str:
    covered: Sequence[Any] = [
        values[name]
        for name in (
            "sequence",
            "id",
            "kind",
            "model",
            "parents",
            "flow_run_id",
            "recorded_at",
            "body",
            "previous_hash",
        )
    ]
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
