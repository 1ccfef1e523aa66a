"""Routes: which release of a model answers, and the file in which the gateway keeps them.

``routes.json`` is replaced as a whole (write aside, fsync, rename), so a reader or a crash sees the old routes or the
new ones, never half of either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from trimtab.answers import is_taken
from trimtab.errors import RequestError, SpecError
from trimtab.predictions.schema import BASE_FIELDS
from trimtab.serving.files import replace_file
from trimtab.settings import Settings

_Count = Annotated[int, msgspec.Meta(ge=1)]
_RESERVED = frozenset(field.name for field in BASE_FIELDS)
_MODEL_NAME = re.compile(r"[a-z][a-z0-9-]{0,127}")


class RouteFeature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input that a request must bring, as in the model's spec."""

    name: str
    type: Literal["number", "integer", "category", "boolean"]
    nullable: bool = True


class ModelLimits(NamedTuple):
    """What one model's callers may cost, settled."""

    max_rows: int
    max_queue_rows: int
    max_body_bytes: int


class RouteLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model's own limits, as in its spec; None: the gateway's settings alone."""

    max_rows: _Count | None = None
    max_queue_rows: _Count | None = None
    max_body_bytes: _Count | None = None

    def within(self, settings: Settings) -> ModelLimits:
        """The lower of each and the gateway's own: a model may ask for less than the operator allows, not for more."""
        return ModelLimits(
            min(self.max_rows or settings.max_rows, settings.max_rows),
            min(self.max_queue_rows or settings.max_queue_rows, settings.max_queue_rows),
            min(self.max_body_bytes or settings.max_body_bytes, settings.max_body_bytes),
        )


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers for a model.

    Parameters
    ----------
    model, version, release_id : str
        Written beside each prediction.
    url : str
        Base address of the scorer, ``http://host:port``; it must speak V2 under ``/v2/models/<model>``.
    artifact_digest : str
        The artifact that the scorer is meant to have loaded.
    kind : str
        ``binary`` answers carry a label: 1 where the score reaches ``decision_threshold``; ``multiclass`` ones have a
        score a class, and the likeliest as the label.
    features : tuple of RouteFeature
        Every request must bring exactly these columns.
    limits : RouteLimits
        Where they are lower than the gateway's settings they count.
    classes : tuple of str
        Of kind ``multiclass``, in the order of the scorer's output.
    log_policy : str
        ``required``: what cannot be logged is not answered. ``available``: it is, and the gap is counted.
    """

    model: str
    version: str
    release_id: str
    url: str
    artifact_digest: str
    kind: Literal["binary", "multiclass", "regression"]
    features: tuple[RouteFeature, ...]
    decision_threshold: float = 0.5
    log_policy: Literal["required", "available"] = "required"
    limits: RouteLimits = RouteLimits()
    classes: tuple[str, ...] = ()


class _RoutesFile(msgspec.Struct, frozen=True):
    routes: dict[str, Route]
    format_version: int = 1


def is_model_name(text: str) -> bool:
    """Whether a model may be named so; no other text becomes part of a path."""
    return _MODEL_NAME.fullmatch(text) is not None


def check_route(model: str, route: Route) -> None:
    """Refuse a route that could never answer.

    Raises
    ------
    RequestError
        400, naming the field, its value and what would be right.
    """
    if not is_model_name(model):
        raise RequestError(
            400,
            f"the model is named {model!r}; a name is lower-case letters, digits and hyphens, at most 128",
        )
    if route.model != model:
        raise RequestError(400, f"the route is for model {route.model!r}; under this address it must be {model!r}")
    if not _is_scorer_address(route.url):
        raise RequestError(400, f"url is {route.url!r}; it must be http://host:port of a scorer")
    names = [feature.name for feature in route.features]
    if not names or len(set(names)) != len(names):
        raise RequestError(400, f"features are {names}; there must be at least one, each name once")
    if (route.kind == "multiclass") != (len(set(route.classes)) > 2) or len(set(route.classes)) < len(route.classes):
        raise RequestError(
            400,
            f"classes are {list(route.classes)}; of kind multiclass there must be three or more, each once; else none",
        )
    if taken := [name for name in names if name in _RESERVED or is_taken(name, route.classes)]:
        raise RequestError(400, f"features {sorted(taken)} are named as columns of the log; name them otherwise")


def _is_scorer_address(url: str) -> bool:
    try:
        address = urlsplit(url)
        return address.scheme == "http" and bool(address.hostname) and address.port != 0
    except ValueError:  # brackets that hold no IPv6 address, or a port that is none
        return False


def load_routes(file: Path) -> dict[str, Route]:
    """The routes kept in a file; none if there is no file.

    Raises
    ------
    SpecError
        If the file does not hold routes; the message names it.
    """
    try:
        return dict(msgspec.json.decode(file.read_bytes(), type=_RoutesFile).routes)
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{file} does not hold routes ({error}); put back a good copy, or remove it and roll out again"
        ) from error


def save_routes(file: Path, routes: Mapping[str, Route]) -> None:
    """Replace the file by these routes, durably and at once.

    Raises
    ------
    OSError
        If the file cannot be written; what was there stays.
    """
    replace_file(file, msgspec.json.format(msgspec.json.encode(_RoutesFile(dict(routes)))))
