"""The ledger as tasks see it: what a step states is on record before the next step starts."""

from __future__ import annotations

from typing import Any, TypeVar

from prefect import task
from prefect.runtime import flow_run

from trimtab.errors import LedgerUnavailableError
from trimtab.ledger import Ledger
from trimtab.records import Record
from trimtab.settings import Settings

R = TypeVar("R", bound=Record)


def open_ledger() -> Ledger:
    """The ledger that the settings name."""
    return Ledger(Settings.from_env().ledger)


def recorded(kind: type[R], record_id: str) -> R | None:
    """The record of that kind and id, if it was stated before: its step need not be done again."""
    return open_ledger().find(kind, record_id)


def _is_passing(_task: Any, _run: Any, state: Any) -> bool:
    """A database that is busy or down may come back; a record that is refused is refused for ever."""
    return isinstance(state.result(raise_on_failure=False), LedgerUnavailableError)


@task(task_run_name="record {statement.kind}", retries=3, retry_delay_seconds=2, retry_condition_fn=_is_passing)
def record(statement: R) -> R:
    """State a record in the ledger, under this flow run's id; stating it again changes nothing.

    Raises
    ------
    LedgerError
        If another record stands under its id, or a parent is not on record.
    """
    open_ledger().append(statement, flow_run_id=flow_run.get_id() or "")
    return statement
