"""Why a run happens: a ruling on record, the schedule, or someone's wish; an event alone is not believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from tasks.lineage import open_ledger, recorded
from trimtab.decay.on_record import refusal
from trimtab.errors import SpecError
from trimtab.models import load_model
from trimtab.records import Action, Cause, Release, Retraining, Ruling, content_id
from trimtab.settings import Settings

_EARLIEST_YEAR = 1970
_CLOCKS_DIFFER_BY = timedelta(minutes=1)


def retrain_cause(model: str, as_of: datetime | None, reason: str, payload: dict[str, Any]) -> Cause:
    """Why a retrain runs; a cause that is on record already is returned as it stands.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    SpecError
        If ``as_of`` is no moment that a run can stand at, or the payload names no RETRAIN ruling of the model.
    """
    spec = load_model(Settings.from_env().models_dir, model).spec
    if payload and "key" not in payload:
        return _of_ruling(spec.name, payload, Action.RETRAIN, "decay")
    trigger = "schedule" if "auto-scheduled" in flow_run.get_tags() else "manual"
    stands_at = moment(as_of)
    return _first_stated(
        Cause(
            id=content_id("cause", spec.name, trigger, as_of, payload.get("key") or flow_run.get_id()),
            model=spec.name,
            trigger=trigger,
            reason=reason or f"{trigger} retraining",
            as_of=stands_at,
        )
    )


def rollback_cause(model: str, as_of: datetime | None, reason: str, payload: dict[str, Any]) -> Cause:
    """Why a rollback runs; a cause that is on record already is returned as it stands.

    Raises
    ------
    SpecError
        If ``as_of`` is no moment that a run can stand at, or the payload names no ROLLBACK ruling of the model.
    """
    if payload:
        return _of_ruling(model, payload, Action.ROLLBACK, "rollback")
    stands_at = moment(as_of)
    return _first_stated(
        Cause(
            id=content_id("cause", model, "rollback", flow_run.get_id() or stands_at),
            model=model,
            trigger="rollback",
            reason=reason,
            as_of=stands_at,
        )
    )


def refused(why: Cause) -> State[Any] | None:
    """The end of a run that must not act; None if it may, or has acted before.

    A ruling's run may where the policy still allows it. No run brings back into service what it released when it ran
    before and what was taken out of service since.

    Raises
    ------
    LedgerError
        If the ledger does not answer.
    """
    ledger = open_ledger()
    releases = ledger.records(Release, why.model)
    ruling = recorded(Ruling, why.ruling_id) if why.ruling_id else None
    hindrance = None
    own = [one for one in releases if one.cause_id == why.id]
    if recorded(Retraining, content_id("retraining", why.id)) or (own and own[-1] == releases[-1]):
        return None
    if own:
        hindrance = f"what {why.id} has released was followed by version {releases[-1].version} ({releases[-1].id})"
    elif ruling is not None:
        hindrance = refusal(load_model(Settings.from_env().models_dir, why.model).spec, ledger, ruling)
    return Completed(name="Skipped", message=f"nothing was done: {hindrance}") if hindrance else None


def moment(as_of: datetime | None) -> datetime:
    """The moment that a run stands at, in UTC: ``as_of``, or now.

    Raises
    ------
    SpecError
        If it has no timezone, is not yet here, or lies before all data.
    """
    now = datetime.now(UTC)
    if as_of is None:
        return now
    if as_of.tzinfo is None:
        raise SpecError(f"as_of is {as_of.isoformat()}; it must have a timezone, such as {as_of.isoformat()}+00:00")
    if as_of.year < _EARLIEST_YEAR or as_of > now + _CLOCKS_DIFFER_BY:
        raise SpecError(f"as_of is {as_of.isoformat()}; it must lie between {_EARLIEST_YEAR} and now")
    return as_of.astimezone(UTC)


def _of_ruling(model: str, payload: dict[str, Any], action: Action, trigger: Any) -> Cause:
    """The cause that a ruling on record is: an event is believed only as far as the ledger bears it out."""
    ruling_id = str(payload.get("ruling_id", ""))
    ruling = recorded(Ruling, ruling_id)
    if ruling is None or ruling.model != model or ruling.action is not action:
        found = f"a ruling {ruling.action} on {ruling.model}" if ruling else "not on record"
        raise SpecError(
            f"cause is {payload}: its ruling_id {ruling_id!r} is {found}; it must name a {action} ruling on {model}"
        )
    return _first_stated(
        Cause(
            id=content_id("cause", ruling.id),
            model=model,
            trigger=trigger,
            reason=ruling.reason,
            as_of=ruling.as_of,
            ruling_id=ruling.id,
        )
    )


def _first_stated(cause: Cause) -> Cause:
    return recorded(Cause, cause.id) or cause
