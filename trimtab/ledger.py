"""The ledger: an append-only, hash-chained table in which every record stands with the records that it follows from.

SQLite by default, Postgres by URL. Each row holds the SHA-256 of the row before, its own sequence number and its own
content, so that a changed, removed or inserted row breaks the chain. Nothing is ever updated; lineage is a walk over
parents. A record is known by its id: stating the same record again changes nothing (steps may run twice), stating
another one under the same id is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from trimtab.errors import LedgerError, LedgerTamperedError
from trimtab.ledger_table import GENESIS, Database, entries, row_hash
from trimtab.records import RECORDS, Record

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
        self._database = Database(url)

    def append(self, record: Record, flow_run_id: str = "") -> Entry:
        """State a record; stating it again returns the entry that is there.

        Raises
        ------
        LedgerError
            If another record stands under this id, a parent is not on record, or the database does not answer.
        """
        parents = record.parents()
        body = record.model_dump_json()
        with self._database.writing() as connection:
            if (known := self._row(connection, record.id)) is not None:
                # As records, not as texts: one from before a field was added lacks it.
                if known.kind != record.kind or _entry(known).record != record:
                    raise LedgerError(f"{record.id} is on record with other content; a record is never changed")
                return _entry(known)
            for parent in parents:
                if self._row(connection, parent) is None:
                    raise LedgerError(f"{record.kind} {record.id} follows from {parent}, which is not on record")
            last = connection.execute(
                sa.select(entries.c.sequence, entries.c.hash).order_by(entries.c.sequence.desc()).limit(1)
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
                "previous_hash": last.hash if last else GENESIS,
            }
            values["hash"] = row_hash(values)
            connection.execute(entries.insert().values(**values))
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
        with self._database.reading() as connection:
            row = self._row(connection, record_id)
        if row is None:
            raise LedgerError(f"nothing is on record under {record_id!r}")
        return _entry(row)

    def find(self, kind: type[R], record_id: str) -> R | None:
        """The record of that kind and id, or None."""
        with self._database.reading() as connection:
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
            sa.select(entries)
            .where(entries.c.kind == kind.kind, entries.c.model == model)
            .order_by(entries.c.sequence.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _entry(row).record  # type: ignore[return-value]

    def models(self, kind: type[Record]) -> list[str]:
        """Names of the models that have a record of that kind, in order."""
        query = sa.select(entries.c.model).where(entries.c.kind == kind.kind).distinct().order_by(entries.c.model)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def entries(
        self, kind: type[Record] | None = None, model: str | None = None, newest: int | None = None
    ) -> list[Entry]:
        """All entries, of a kind and of a model if asked for, or only so many of the newest; oldest first."""
        query = sa.select(entries).order_by(entries.c.sequence.desc()).limit(newest)
        if kind is not None:
            query = query.where(entries.c.kind == kind.kind)
        if model is not None:
            query = query.where(entries.c.model == model)
        with self._database.reading() as connection:
            return [_entry(row) for row in connection.execute(query)][::-1]

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
        expected_hash, expected_sequence = GENESIS, 1
        with self._database.reading() as connection:
            for row in connection.execute(sa.select(entries).order_by(entries.c.sequence)).mappings():
                values = dict(row)
                if values["sequence"] != expected_sequence:
                    raise LedgerTamperedError(
                        f"entry {expected_sequence} is gone: "
                        f"after entry {expected_sequence - 1} comes {values['sequence']}"
                    )
                if values["previous_hash"] != expected_hash or values["hash"] != row_hash(values):
                    raise LedgerTamperedError(
                        f"entry {values['sequence']} ({values['kind']} {values['id']}) was altered: "
                        "its hash is not that of its content"
                    )
                expected_hash, expected_sequence = values["hash"], expected_sequence + 1
        return expected_sequence - 1

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the newest entry; kept elsewhere, they prove that the end was not cut off."""
        query = sa.select(entries.c.sequence, entries.c.hash).order_by(entries.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return (0, GENESIS) if row is None else (row.sequence, row.hash)

    @staticmethod
    def _row(connection: sa.Connection, record_id: str) -> Any:
        return connection.execute(sa.select(entries).where(entries.c.id == record_id)).first()


def _entry(row: Any) -> Entry:
    """The entry that a row states.

    Raises
    ------
    LedgerTamperedError
        If it cannot be read because it was altered.
    LedgerError
        If it stands as it was written, and still cannot be read.
    """
    try:
        return Entry(
            row.sequence,
            RECORDS[row.kind].model_validate_json(row.body),
            tuple(json.loads(row.parents)),
            row.flow_run_id,
            datetime.fromisoformat(row.recorded_at),
            row.hash,
        )
    except (KeyError, ValueError, TypeError) as error:
        name = f"entry {row.sequence} ({row.kind} {row.id})"
        if row_hash(row._mapping) != row.hash:
            raise LedgerTamperedError(f"{name} was altered: its hash is not that of its content") from error
        raise LedgerError(
            f"{name} stands as it was written, but this trimtab cannot read it: "
            "a newer one may have written it; read it with that one"
        ) from error
