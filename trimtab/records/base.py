"""What every record is: a frozen value, with an id that follows from what it states."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


def content_id(prefix: str, *parts: Any) -> str:
    """An id that follows from content: ``<prefix>-`` and 16 hex digits of the SHA-256 of the parts' JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Value(BaseModel):
    """A frozen value with a JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Record(Value):
    """A value that the ledger keeps, under its id, with the ids of the records that it follows from."""

    kind: ClassVar[str]
    id: str
    model: str

    def parents(self) -> tuple[str, ...]:
        """Ids of the records that this one follows from."""
        return ()
