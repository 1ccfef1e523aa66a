"""Is everything as it must be: specs, suites, services."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from trimtab.errors import LedgerError, SpecError
from trimtab.ledger import Ledger
from trimtab.models import Model, load_models
from trimtab.settings import Settings

_ANSWER_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    which: str
    ok: bool
    detail: str


def check_all(settings: Settings) -> list[Check]:
    """Look at every spec, every suite, the ledger and every service. Never raises for what it finds; takes seconds."""
    return [*check_models(settings), check_ledger(settings), *check_services(settings)]


def check_models(settings: Settings) -> list[Check]:
    """Every model's spec, and the suite that it names."""
    try:
        models = load_models(settings.models_dir)
    except SpecError as error:
        return [Check("spec", str(settings.models_dir), False, str(error))]
    if not models:
        return [Check("spec", str(settings.models_dir), False, "there is no model folder with a spec.py in it")]
    found: list[Check] = []
    for name, model in models.items():
        spec = model.spec
        detail = f"{len(spec.features)} features, trained by {', '.join(trainer.name for trainer in spec.trainers)}"
        found += [Check("spec", name, True, detail), _check_suite(settings, model)]
    return found


def check_ledger(settings: Settings) -> Check:
    """The ledger answers and its chain holds."""
    try:
        entries = Ledger(settings.ledger).verify()
    except LedgerError as error:
        return Check("ledger", settings.ledger_url or "SQLite", False, str(error))
    return Check("ledger", settings.ledger_url or "SQLite", True, f"{entries} entries, the chain holds")


def check_services(settings: Settings) -> list[Check]:
    """Every service answers."""
    return [
        _check_service("Prefect", settings.prefect_url, "/api/health"),
        _check_service("MLflow", settings.mlflow_url, "/health"),
        _check_service("gateway", settings.gateway_url, "/v2/health/live"),
        _check_service("reports", settings.reports_url, "/"),
    ]


def _check_suite(settings: Settings, model: Model) -> Check:
    path = settings.suites_dir / f"{model.spec.suite}.json"
    which = f"{model.spec.suite} of {model.spec.name}"
    try:
        suite = json.loads(path.read_text())
    except FileNotFoundError:
        return Check("suite", which, False, f"{path} does not exist; the spec's suite names it")
    except ValueError as error:
        return Check("suite", which, False, f"{path} is no JSON: {error}")
    expectations = suite.get("expectations") if isinstance(suite, dict) else None
    if not expectations:
        return Check("suite", which, False, f"{path} holds no expectations; it must hold name and expectations")
    known = {*model.spec.feature_names, model.spec.target.name, model.spec.event_time, model.spec.key}
    for number, expectation in enumerate(expectations):
        column = expectation.get("kwargs", {}).get("column")
        if "type" not in expectation:
            return Check("suite", which, False, f"{path}: expectation {number} has no type")
        if column is not None and column not in known:
            detail = (
                f"{path}: expectation {number} ({expectation['type']}) is on column {column!r}, which the spec lacks"
            )
            return Check("suite", which, False, detail)
    return Check("suite", which, True, f"{len(expectations)} expectations")


def _check_service(name: str, url: str, path: str) -> Check:
    try:
        answer = httpx.get(f"{url.rstrip('/')}{path}", timeout=_ANSWER_WITHIN_S, follow_redirects=True)
    except httpx.TransportError as error:
        return Check(
            "service", name, False, f"{url} does not answer ({type(error).__name__}): is `trimtab up` running?"
        )
    if not answer.is_success:
        return Check("service", name, False, f"{url}{path} answers {answer.status_code}")
    return Check("service", name, True, url)
