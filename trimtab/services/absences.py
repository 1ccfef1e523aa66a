"""Scorers that do not answer: which models have one, and whose is to be restored now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from trimtab.errors import SpecError
from trimtab.serving.routes import load_routes
from trimtab.serving.tls import client_tls
from trimtab.settings import Settings

_SEEN_BEFORE_RESTORED = 2
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0


@dataclass
class _Absence:
    seen: int = 0
    restored: int = 0
    restore_at_s: float = 0.0


class Absences:
    """How often each model's scorer was missed, and when it was last restored. Forgets a model that answers."""

    def __init__(self) -> None:
        self._absent: dict[str, _Absence] = {}

    def due(self, readiness: Mapping[str, bool | None], now_s: float) -> list[str]:
        """The models to restore now: not ready twice in a row, and not restored a short while ago.

        Parameters
        ----------
        readiness : mapping
            As :func:`readiness_of_routes` finds it. What nothing is known of does not count as missed.
        now_s : float
            On a clock that does not go back.
        """
        missed = [model for model, ready in readiness.items() if ready is False]
        self._absent = {model: self._absent.get(model) or _Absence() for model in missed}
        return [model for model, absence in self._absent.items() if _is_due(absence, now_s)]


def _is_due(absence: _Absence, now_s: float) -> bool:
    absence.seen += 1
    if absence.seen < _SEEN_BEFORE_RESTORED or now_s < absence.restore_at_s:
        return False
    absence.restore_at_s = now_s + min(_FIRST_PAUSE_S * 2.0**absence.restored, _LONGEST_PAUSE_S)
    absence.restored += 1
    return True


def readiness_of_routes(settings: Settings) -> dict[str, bool | None]:
    """Whether the gateway reaches the scorer of each model that it has a route for; None if it does not say."""
    try:
        models = sorted(load_routes(settings.home / "routes.json"))
    except (SpecError, OSError):
        # The gateway itself says what is wrong with its routes.
        return {}
    return {model: _is_ready(settings, model) for model in models}


def _is_ready(settings: Settings, model: str) -> bool | None:
    try:
        url = f"{settings.gateway_url}/v2/models/{model}/ready"
        status = httpx.get(url, timeout=5, trust_env=False, verify=client_tls(settings)).status_code
    except httpx.TransportError:
        return None
    return None if status == httpx.codes.NOT_FOUND else status < httpx.codes.INTERNAL_SERVER_ERROR
