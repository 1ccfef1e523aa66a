"""How Python code talks to the gateway: a thin, synchronous client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx
import msgspec

from trimtab.errors import OutcomeConflictError, RequestError, ServiceUnavailableError, UnknownPredictionError
from trimtab.serving.routes import Route
from trimtab.serving.tls import client_tls
from trimtab.serving.tokens import admin_token
from trimtab.settings import Settings

_TIMEOUT_S = 60.0


class GatewayClient:
    """Talks to the gateway at ``settings.gateway_url``; one connection pool, safe for threads.

    Every method raises ``ServiceUnavailableError`` when the gateway does not answer or answers 503, and
    ``RequestError`` with the gateway's own words when it refuses: status 401 if it does not know the token, 403 if the
    token is not for this.

    Parameters
    ----------
    settings : Settings
        Its address, what its certificate is verified with, and the token to send where none is given.
    token : str, optional
        The token to send, also to move routes; by default ``settings.gateway_token``, and to move routes the admin
        token of the home.

    Raises
    ------
    SpecError
        If a file that a TLS setting names cannot be used.
    """

    def __init__(self, settings: Settings, token: str | None = None) -> None:
        self._settings = settings
        self._token = token
        # A proxy of the environment has no part in calls to one's own gateway.
        self._http = httpx.Client(
            base_url=settings.gateway_url, timeout=_TIMEOUT_S, trust_env=False, verify=client_tls(settings)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def routes(self) -> dict[str, Route]:
        """The routes by model."""
        return msgspec.convert(self._admin("GET", "/admin/routes")["routes"], dict[str, Route])

    def switch(self, route: Route) -> Route | None:
        """Send a model's traffic over this route; returns the one before, once its last request is answered."""
        answer = self._admin("PUT", f"/admin/routes/{route.model}", content=msgspec.json.encode(route))
        return msgspec.convert(answer["previous"], Route | None)

    def withdraw(self, model: str) -> Route | None:
        """Take a model's route away; returns it, once its last request is answered. None if there was none."""
        return msgspec.convert(self._admin("DELETE", f"/admin/routes/{model}")["previous"], Route | None)

    def metadata(self, model: str) -> dict[str, Any]:
        """What serves: the scorer's own metadata (``artifact_digest`` among it), and ``route``."""
        # Any token will do; trimtab's own flows have the admin token.
        token = "" if self._token or self._settings.gateway_token else self._own_admin_token()
        return self._call("GET", f"/v2/models/{model}", token=token)

    def ready(self, model: str) -> bool:
        """Whether the model has a route whose scorer says that it is ready. False if the gateway is down, too."""
        try:
            self._call("GET", f"/v2/models/{model}/ready")
        except (ServiceUnavailableError, RequestError):
            return False
        return True

    def infer(
        self,
        model: str,
        columns: Mapping[str, Sequence[Any]],
        event_time: datetime | Sequence[datetime] | None = None,
    ) -> dict[str, Any]:
        """Predict.

        Parameters
        ----------
        model
            Its name.
        columns
            Values by feature, all of the same length; None or NaN where missing.
        event_time
            When it happened, of all rows or of each; now by default. Timezone-aware.

        Returns
        -------
        dict
            The V2 answer, and besides ``score``, ``label`` (but of a regression) and ``prediction_id`` as lists,
            ``release_id``.
        """
        body: dict[str, Any] = {"inputs": [_tensor(name, values) for name, values in columns.items()]}
        if event_time is not None:
            times = event_time.isoformat() if isinstance(event_time, datetime) else [t.isoformat() for t in event_time]
            body["parameters"] = {"event_time": times}
        answer = self._call("POST", f"/v2/models/{model}/infer", content=msgspec.json.encode(body))
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        return {**answer, **outputs, "release_id": answer["parameters"]["release_id"]}

    def outcomes(self, model: str, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """State outcomes: mappings of ``value`` and ``prediction_id``, or ``request_id`` in its stead.

        They may have ``observed_at`` (ISO 8601 with a timezone; now by default) and ``correction`` (bool).

        Raises
        ------
        UnknownPredictionError, OutcomeConflictError
            Then none of them is stored.
        """
        content = msgspec.json.encode({"outcomes": [dict(outcome) for outcome in outcomes]})
        return self._call("POST", f"/v2/models/{model}/outcomes", content=content)

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        """A prediction's model, record and outcomes.

        Raises
        ------
        UnknownPredictionError
            If no model's log has it.
        """
        return self._call("GET", f"/predictions/{prediction_id}")

    def predictions(self, **asked: str | int) -> dict[str, Any]:
        """A page of predictions: ``predictions`` (``model`` and ``record`` of each), and ``next``, None at the end.

        Parameters
        ----------
        asked
            As docs/gateway.md lists them: ``model``, ``request_id``, ``limit``, ``after``, ...; ``from`` and ``to`` as
            ``**{"from": ...}``.

        Raises
        ------
        RequestError
            If a parameter is wrong.
        """
        return self._call("GET", f"/predictions?{urlencode(asked)}")

    def _admin(self, method: str, path: str, content: bytes | None = None) -> dict[str, Any]:
        token = self._token or self._own_admin_token() or self._settings.gateway_token
        return self._call(method, path, content, token or admin_token(self._settings.admin_token_file))

    def _own_admin_token(self) -> str:
        file = self._settings.admin_token_file
        return admin_token(file) if file.is_file() else ""

    def _call(self, method: str, path: str, content: bytes | None = None, token: str = "") -> dict[str, Any]:
        token = token or self._token or self._settings.gateway_token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            response = self._http.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise ServiceUnavailableError(
                f"the gateway at {self._settings.gateway_url} does not answer {method} {path}: "
                f"{error or type(error).__name__}; {_remedy(error, self._settings)}"
            ) from error
        if response.is_success:
            answer: dict[str, Any] = msgspec.json.decode(response.content)
            return answer
        raise _refusal(response, path)


def _remedy(error: httpx.TransportError, settings: Settings) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "set TRIMTAB_TLS_CA to the authority that signed its certificate"
    # A server that is not shown the certificate it asks for hangs up, with or without a word, after the handshake.
    hung_up = isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError))
    if hung_up and settings.gateway_url.startswith("https:"):
        held = "another certificate than" if settings.tls_client_cert else "a certificate:"
        return f"it may ask for {held} TRIMTAB_TLS_CLIENT_CERT (and TRIMTAB_TLS_CLIENT_KEY)"
    return "is `trimtab up` running?"


def _refusal(response: httpx.Response, path: str) -> Exception:
    try:
        message = str(msgspec.json.decode(response.content)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"the gateway answered {response.status_code}: {response.text[:200]!r}"
    if response.status_code == 401:
        message += "; TRIMTAB_GATEWAY_TOKEN holds the one that is sent, unless the client was given another"
    if response.status_code >= 500:
        return ServiceUnavailableError(message)
    if response.status_code == 409:
        return OutcomeConflictError(message)
    if response.status_code == 404 and ("/predictions/" in path or message.startswith("no prediction")):
        return UnknownPredictionError(message)
    return RequestError(response.status_code, message)


def _tensor(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """A V2 tensor of plain values: numpy's are unpacked, NaN becomes null."""
    unpacked = values.tolist() if hasattr(values, "tolist") else list(values)
    plain = [value.item() if hasattr(value, "item") else value for value in unpacked]
    data = [None if value is None or value != value else value for value in plain]
    types = {type(value) for value in data if value is not None}
    datatype = "BYTES" if str in types else "BOOL" if types == {bool} else "INT64" if types == {int} else "FP64"
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}
