"""The ledger keeps what was stated, once, in order, and shows when anything was altered."""

from __future__ import annotations

import multiprocessing
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trimtab.errors import LedgerError, LedgerTamperedError, LedgerUnavailableError
from trimtab.ledger import Ledger
from trimtab.ledger_table import row_hash
from trimtab.records import Cause

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def cause(number: int, model: str = "loan", reason: str = "a test", ruling_id: str | None = None) -> Cause:
    return Cause(id=f"cause-{number}", model=model, trigger="manual", reason=reason, as_of=NOW, ruling_id=ruling_id)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_record_comes_back_as_it_was_stated(ledger: Ledger) -> None:
    ledger.append(cause(1), flow_run_id="run-1")
    entry = ledger.get("cause-1")
    assert entry.record == cause(1)
    assert entry.flow_run_id == "run-1"
    assert ledger.latest(Cause, "loan") == cause(1)
    assert ledger.find(Cause, "cause-2") is None


def test_the_newest_entries_of_a_model_come_oldest_first_too(ledger: Ledger) -> None:
    for number in range(1, 5):
        ledger.append(cause(number))
    ledger.append(cause(5, model="parcel"))
    newest = [entry.record.id for entry in ledger.entries(Cause, "loan", newest=2)]
    assert newest == ["cause-3", "cause-4"]
    assert ledger.models(Cause) == ["loan", "parcel"]


def test_stating_a_record_again_changes_nothing(ledger: Ledger) -> None:
    first = ledger.append(cause(1))
    assert ledger.append(cause(1)).sequence == first.sequence
    assert ledger.verify() == 1


def test_a_record_from_before_a_field_was_added_may_be_stated_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = cause(1).model_dump_json(exclude={"ruling_id"})
    with monkeypatch.context() as patch:
        patch.setattr(Cause, "model_dump_json", lambda _: older)
        first = ledger.append(cause(1))
    assert ledger.append(cause(1)).sequence == first.sequence
    assert ledger.verify() == 1


def test_another_record_under_a_known_id_is_refused(ledger: Ledger) -> None:
    ledger.append(cause(1))
    with pytest.raises(LedgerError, match="cause-1 is on record with other content"):
        ledger.append(cause(1, reason="another"))


def test_a_record_whose_parent_is_unknown_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="follows from ruling-1, which is not on record"):
        ledger.append(cause(1, ruling_id="ruling-1"))
    assert ledger.verify() == 0


def test_the_database_itself_refuses_to_change_an_entry(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(cause(1))
    with sqlite3.connect(tmp_path / "ledger.db") as connection, pytest.raises(sqlite3.IntegrityError, match="append"):
        connection.execute("UPDATE ledger SET body = '{}'")
    connection.close()
    assert ledger.verify() == 1


@pytest.mark.parametrize(
    ("tampering", "message"),
    [
        ("UPDATE ledger SET body = replace(body, 'a test', 'a lie') WHERE sequence = 2", "entry 2 .* was altered"),
        ("UPDATE ledger SET recorded_at = '2020-01-01T00:00:00+00:00' WHERE sequence = 1", "entry 1 .* was altered"),
        ("UPDATE ledger SET flow_run_id = 'x' WHERE sequence = 3", "entry 3 .* was altered"),
        ("DELETE FROM ledger WHERE sequence = 2", "entry 2 is gone"),
        ("DELETE FROM ledger WHERE sequence = 1", "entry 1 is gone"),
    ],
)
def test_any_alteration_is_found(ledger: Ledger, tmp_path: Path, tampering: str, message: str) -> None:
    for number in (1, 2, 3):
        ledger.append(cause(number))
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("DROP TRIGGER ledger_refuses_update")
    connection.execute("DROP TRIGGER ledger_refuses_delete")
    connection.execute(tampering)
    connection.commit()
    connection.close()
    with pytest.raises(LedgerTamperedError, match=message):
        ledger.verify()


@pytest.mark.parametrize(
    "alteration", ["body = '{}'", "body = 'x'", "kind = 'nothing'", "parents = '7'", "recorded_at = 'today'"]
)
def test_an_entry_that_was_altered_beyond_reading_is_named(ledger: Ledger, tmp_path: Path, alteration: str) -> None:
    ledger.append(cause(1))
    _alter(tmp_path / "ledger.db", alteration)
    for read in (ledger.entries, lambda: ledger.get("cause-1")):
        with pytest.raises(LedgerTamperedError, match=r"entry 1 \(\w+ cause-1\) was altered"):
            read()


def test_an_entry_of_a_newer_trimtab_is_not_called_altered(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(cause(1))
    _alter(tmp_path / "ledger.db", """body = '{"news": 1}'""")
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.row_factory = sqlite3.Row
        values = dict(connection.execute("SELECT * FROM ledger").fetchone())
    connection.close()
    _alter(tmp_path / "ledger.db", f"hash = '{row_hash(values)}'")
    with pytest.raises(LedgerError, match="stands as it was written") as caught:
        ledger.get("cause-1")
    assert not isinstance(caught.value, LedgerTamperedError)


def _alter(database: Path, alteration: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute("DROP TRIGGER IF EXISTS ledger_refuses_update")
    connection.execute(f"UPDATE ledger SET {alteration} WHERE sequence = 1")
    connection.commit()
    connection.close()


def test_a_head_kept_elsewhere_shows_that_the_end_was_cut_off(ledger: Ledger, tmp_path: Path) -> None:
    for number in (1, 2):
        ledger.append(cause(number))
    kept = ledger.head()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("DROP TRIGGER ledger_refuses_delete")
    connection.execute("DELETE FROM ledger WHERE sequence = 2")
    connection.commit()
    connection.close()
    assert ledger.verify() == 1
    assert ledger.head() != kept


def _append_many(url: str, start: int) -> None:
    own = Ledger(url)
    for number in range(start, start + 25):
        own.append(cause(number))


def test_many_processes_make_one_unbroken_chain(ledger: Ledger, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    processes = [
        multiprocessing.get_context("spawn").Process(target=_append_many, args=(url, start)) for start in (0, 100, 200)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert ledger.verify() == 75


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(LedgerError, match="does not answer") as caught:
        Ledger("postgresql+psycopg://clerk:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(LedgerUnavailableError, match=r"ledger.db does not answer: file is not a database"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_url_that_is_none_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(
        LedgerError, match="TRIMTAB_LEDGER_URL is no database URL; it must be like sqlite:///path"
    ) as caught:
        Ledger("clerk:secret@ledger.db")
    assert "secret" not in str(caught.value)
