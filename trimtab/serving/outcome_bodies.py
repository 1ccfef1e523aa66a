"""What a post of outcomes may look like: JSON, JSON lines or CSV; and what it states. All or none of it is taken."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from trimtab.errors import OutcomeFileError, RequestError, UnknownPredictionError
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcome_cells import parse_classes, parse_ids, parse_marks, parse_times, parse_values
from trimtab.predictions.outcome_files import Chunk, Layout, read_csv
from trimtab.predictions.outcomes import Outcomes, Receipt
from trimtab.predictions.requested import predictions_of
from trimtab.predictions.schema import ID, id_bytes
from trimtab.predictions.statements import Statements
from trimtab.serving.protocol import decode, parse_time

_CSV = b"text/csv"
_JSON_LINES = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines")
_CSV_COLUMNS = ("prediction_id", "request_id", "value", "observed_at", "correction")


class OutcomeBody(msgspec.Struct, forbid_unknown_fields=True):
    """One outcome as it is posted; of ``prediction_id`` and ``request_id`` it has one."""

    value: bool | float | str
    prediction_id: str | None = None
    request_id: str | None = None
    observed_at: str | None = None
    correction: bool = False


class OutcomesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a post of outcomes, in JSON."""

    outcomes: list[OutcomeBody]


@dataclass(frozen=True, slots=True)
class Posted:
    """n outcomes as they were posted and checked; each has a prediction id or, if that is None, a request id."""

    prediction_ids: Sequence[str | None]
    request_ids: Sequence[str | None]
    values: np.ndarray
    observed_at: np.ndarray
    corrections: np.ndarray
    place: str
    """What a message calls each: ``outcome`` from 0 on, or ``row``."""


_decoder = msgspec.json.Decoder(OutcomesBody)
_line_decoder = msgspec.json.Decoder(OutcomeBody)


def parse_outcomes(
    body: bytes, content_type: bytes | None, binary: bool, now: int, classes: Sequence[str] = ()
) -> Posted:
    """Check a post of outcomes; nothing is looked up.

    Parameters
    ----------
    body
    content_type
        ``text/csv`` and ``application/x-ndjson`` tell the other two forms; all else is JSON.
    binary
        Whether values must be 0 or 1.
    now
        Microseconds since 1970, for outcomes that do not say when they became known.
    classes
        Of a model of several classes: each value must name one.

    Raises
    ------
    RequestError
        400, naming the place, the value and what would be right.
    """
    kind = (content_type or b"").split(b";")[0].strip().lower()
    if kind == _CSV:
        return _parse_csv(body, binary, now, classes)
    if kind in _JSON_LINES:
        return _posted(_decode_lines(body), binary, now, classes)
    return _posted(decode(_decoder, body).outcomes, binary, now, classes)


def add_posted(outcomes: Outcomes, log: PredictionLog, posted: Posted) -> Receipt:
    """Store what was posted, all or none. Reads and writes the disk.

    Raises
    ------
    RequestError
        409 if several predictions have a request id.
    UnknownPredictionError, OutcomeConflictError, PredictionLogError
        As :meth:`Outcomes.add`.
    """
    ids = parse_ids([text or "" for text in posted.prediction_ids])
    asked = [text for text in posted.request_ids if text is not None]
    by_request = _by_request(log, posted, asked) if asked else {}
    if ids.null_count:
        ids = pa.array(
            [
                key if key is not None else by_request[request_id] if request_id is not None else id_bytes(text or "")
                for key, text, request_id in zip(
                    ids.to_pylist(), posted.prediction_ids, posted.request_ids, strict=True
                )
            ],
            ID,
        )
    return outcomes.add_all(Statements(ids, posted.values, posted.observed_at, posted.corrections))


def _by_request(log: PredictionLog, posted: Posted, asked: list[str]) -> dict[str, bytes]:
    keys, counts = predictions_of(log, pa.array(asked, pa.string()))
    if len(unknown := np.flatnonzero(counts == 0)):
        raise UnknownPredictionError(
            f"no prediction of a request {asked[unknown[0]]!r} is on record in {log.folder} "
            f"({len(unknown)} of {len(asked)} are unknown); none of the outcomes is stored"
        )
    if len(several := np.flatnonzero(counts > 1)):
        request_id = asked[several[0]]
        raise RequestError(
            409,
            f"{posted.place} {posted.request_ids.index(request_id)}: more than one prediction has the request id "
            f"{request_id!r}; name the one that is meant by its prediction_id. None of the outcomes is stored",
        )
    return dict(zip(asked, keys.to_pylist(), strict=True))


def _decode_lines(body: bytes) -> list[OutcomeBody]:
    try:
        return _line_decoder.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body is not one outcome in JSON a line: {error}") from error


def _posted(given: list[OutcomeBody], binary: bool, now: int, classes: Sequence[str]) -> Posted:
    for number, one in enumerate(given):
        if bool(one.prediction_id) == bool(one.request_id):
            raise RequestError(400, f"outcome {number} must have one of prediction_id and request_id, and not both")
    stated: list[Any] = [one.value for one in given]
    values = parse_classes(stated, classes) if classes else parse_values(stated, is_text=False)
    if len(odd := np.flatnonzero(~np.isfinite(values))):
        raise RequestError(400, f"outcome {odd[0]}: the value is {stated[odd[0]]!r}; it {_wanted(classes)}")
    if binary and len(odd := np.flatnonzero((values != 0) & (values != 1))):
        raise RequestError(
            400, f"outcome {odd[0]}: the value is {values[odd[0]]:g}; of a binary model it must be 0 or 1"
        )
    times = [
        now if one.observed_at is None else parse_time(one.observed_at, f"outcome {number}: observed_at")
        for number, one in enumerate(given)
    ]
    return Posted(
        [one.prediction_id for one in given],
        [one.request_id for one in given],
        values,
        np.array(times, np.int64),
        np.array([one.correction for one in given], np.bool_),
        "outcome",
    )


def _wanted(classes: Sequence[str]) -> str:
    return f"must be one of {list(classes)}" if classes else "must be a finite number"


def _parse_csv(body: bytes, binary: bool, now: int, classes: Sequence[str]) -> Posted:
    try:
        header = next(csv.reader([body.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()]), [])
    except csv.Error as error:
        raise RequestError(400, f"the CSV has no header: {error}") from error
    if odd := [name for name in header if name not in _CSV_COLUMNS]:
        raise RequestError(400, f"the CSV has a column {odd[0]!r}; its columns may be {', '.join(_CSV_COLUMNS)}")
    by_request = "request_id" in header
    if by_request and "prediction_id" in header:
        raise RequestError(400, "the CSV has the columns prediction_id and request_id; it must have one of them")
    layout = Layout(
        "request_id" if by_request else "prediction_id",
        by_request,
        correction_column="correction" if "correction" in header else None,
    )
    try:
        chunk = next(read_csv(io.BytesIO(body), len(body), layout, "the body", len(body)), None)
    except OutcomeFileError as error:
        raise RequestError(400, str(error)) from error
    if chunk is None:
        chunk = Chunk([], [], [], None, None, True, [], 1.0)
    return _check_csv(chunk, by_request, binary, now, classes)


def _check_csv(chunk: Chunk, by_request: bool, binary: bool, now: int, classes: Sequence[str]) -> Posted:
    n = len(chunk.lines)
    for line, why in chunk.malformed:
        raise RequestError(400, f"line {line} of the CSV has {why}")
    values = parse_classes(chunk.values, classes) if classes else parse_values(chunk.values, chunk.is_text)
    times, timely = parse_times(chunk.observed_at, n, now)
    marks, marked = parse_marks(chunk.corrections, n)
    of_binary = ((values == 0) | (values == 1)) if binary else np.ones(n, np.bool_)
    for good, column, cells, right in (
        (np.array([bool(key) for key in chunk.keys], np.bool_), "the id", chunk.keys, "must be there"),
        (np.isfinite(values), "value", chunk.values, _wanted(classes)),
        (of_binary, "value", chunk.values, "of a binary model must be 0 or 1"),
        (timely, "observed_at", chunk.observed_at, "must be an ISO 8601 time with a timezone, years 1 to 9999"),
        (marked, "correction", chunk.corrections, "must be true or false"),
    ):
        if len(odd := np.flatnonzero(~good)):
            found = cells[odd[0]] if cells is not None else None
            raise RequestError(400, f"line {chunk.lines[odd[0]]} of the CSV: {column} is {found!r}; it {right}")
    nothing: list[str | None] = [None] * n
    prediction_ids, request_ids = (nothing, chunk.keys) if by_request else (chunk.keys, nothing)
    return Posted(prediction_ids, request_ids, values, times, marks, "row")
