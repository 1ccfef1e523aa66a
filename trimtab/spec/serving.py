"""How releases run, and when flows run by themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from trimtab.spec.cron import check_cron
from trimtab.spec.parts import Part


class Schedule(Part):
    """When the model's flows run by themselves, as cron lines in UTC; None: never."""

    watch: str | None = "0 6 * * 1"
    retrain: str | None = None

    @field_validator("watch", "retrain")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            check_cron(value)
        return value


class Limits(Part):
    """What the gateway takes for this model, where it is less than its settings allow: None leaves it to them.

    ``max_rows`` in a request, ``max_queue_rows`` that wait unanswered, ``max_body_bytes`` of a request.
    """

    max_rows: int | None = Field(default=None, ge=1)
    max_queue_rows: int | None = Field(default=None, ge=1)
    max_body_bytes: int | None = Field(default=None, ge=1)


class Serving(Part):
    """How a release runs. ``compiled`` asks for an ONNX artifact where parity holds; ``memory_mb`` limits it.

    ``log_policy``: under ``required`` a prediction that cannot be logged is not given; under ``available`` it is given
    all the same, and the gap is counted. ``limits`` are those of its callers.
    """

    runtime: Literal["default", "docker", "process"] = "default"
    compiled: bool = True
    memory_mb: int = Field(default=512, ge=128)
    start_timeout_s: float = Field(default=60, gt=0)
    decision_threshold: float = Field(default=0.5, ge=0, le=1)
    log_policy: Literal["required", "available"] = "required"
    limits: Limits = Limits()
