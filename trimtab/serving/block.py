"""The features of one batch: for the scorer as V2 tensors, for the log as Arrow columns; from the same memory."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from trimtab.predictions.schema import FEATURE_TYPES
from trimtab.serving.protocol import Rows
from trimtab.serving.protocol.columns import SCORER_DATATYPES
from trimtab.serving.routes import Route

_LONG_REQUEST = 8
"""Requests of so many rows are made arrays of before they are joined."""
_LONG_LIST = 64
"""Lists of so many floats are packed three times as fast as numpy converts them."""
_encode = msgspec.json.Encoder().encode


class Block:
    """The rows of several requests, one after the other.

    Parameters
    ----------
    route : Route
    requests : sequence of Rows
        At least one.

    Attributes
    ----------
    n : int
    """

    def __init__(self, route: Route, requests: Sequence[Rows]) -> None:
        self.n = sum(rows.n for rows in requests)
        self._requests = requests
        self._features = route.features
        self._numbers_at = [i for i, feature in enumerate(route.features) if feature.type == "number"]
        self._rows_first: np.ndarray | None = None
        if all(rows.matrix is not None for rows in requests):
            parts = [rows.matrix for rows in requests]
            if self.n >= _LONG_REQUEST * len(requests):
                parts = [_floats(part) for part in parts]
            self._rows_first = _floats(_joined(parts)).reshape(self.n, len(route.features))
        else:
            # What is no number is told before it is sent anywhere.
            _ = self._numbers

    @functools.cached_property
    def _columns(self) -> list[Any]:
        if self._rows_first is not None:
            return list(self._numbers)
        every = [_columns(rows, len(self._features)) for rows in self._requests]
        return [_joined([columns[i] for columns in every]) for i in range(len(self._features))]

    @functools.cached_property
    def _numbers(self) -> np.ndarray:
        """The columns that are numbers, one after the other. Null is NaN, in memory as in the tensors."""
        if self._rows_first is not None:
            return np.ascontiguousarray(self._rows_first.T)
        numbers = [self._columns[i] for i in self._numbers_at]
        if self.n >= _LONG_LIST:
            numbers = [_floats(values) for values in numbers]
        return np.array(numbers, np.float64)

    def arrow_columns(self) -> list[pa.Array]:
        """The columns of the log, in the order of the features."""
        found: dict[int, pa.Array] = {}
        if self._numbers_at:
            if np.isnan(self._numbers).any():
                for i, values in zip(self._numbers_at, self._numbers, strict=True):
                    found[i] = pa.array(values, from_pandas=True)
            else:
                memory = [None, pa.py_buffer(self._numbers)]
                for line, i in enumerate(self._numbers_at):
                    found[i] = pa.Array.from_buffers(pa.float64(), self.n, memory, offset=line * self.n)
        for i, feature in enumerate(self._features):
            if i not in found:
                found[i] = pa.array(self._columns[i], FEATURE_TYPES[feature.type])
        return [found[i] for i in range(len(self._features))]

    def json_request(self) -> bytes:
        """The body of the scorer's infer request."""
        return _encode({"inputs": [self._json_tensor(i) for i in range(len(self._features))]})

    @property
    def is_matrix(self) -> bool:
        """Whether all features are numbers."""
        return len(self._numbers_at) == len(self._features) > 1

    def matrix_request(self) -> tuple[bytes, memoryview]:
        """The body of the scorer's infer request as one binary tensor: its JSON part, and the tensor."""
        rows = self._rows_first if self._rows_first is not None else np.ascontiguousarray(self._numbers.T)
        text = (
            b'{"inputs":[{"name":"rows","datatype":"FP64","shape":[%d,%d],"parameters":{"binary_data_size":%d}}],'
            b'"parameters":{"binary_data_output":true}}' % (*rows.shape, rows.nbytes)
        )
        return _padded(text), rows.ravel().view(np.uint8).data

    def binary_request(self) -> tuple[bytes, bytes]:
        """The same with a tensor a feature, numbers in the binary tensor extension: its JSON part, and the tensors."""
        head: list[bytes] = []
        memory: list[bytes] = []
        size = 8 * self.n
        for i in self._numbers_at:
            name = _encode(self._features[i].name)
            head.append(
                b'{"name":%b,"datatype":"FP64","shape":[%d],"parameters":{"binary_data_size":%d}}'
                % (name, self.n, size)
            )
        memory.append(self._numbers.tobytes())
        for i, feature in enumerate(self._features):
            values = self._columns[i]
            if feature.type == "integer" and (isinstance(values, np.ndarray) or None not in values):
                name = _encode(feature.name)
                head.append(
                    b'{"name":%b,"datatype":"INT64","shape":[%d],"parameters":{"binary_data_size":%d}}'
                    % (name, self.n, size)
                )
                memory.append(np.array(values, "<i8").tobytes())
            elif feature.type != "number":
                head.append(_encode(self._json_tensor(i)))
        text = b'{"inputs":[%b],"parameters":{"binary_data_output":true}}' % b",".join(head)
        return _padded(text), b"".join(memory)

    def _json_tensor(self, i: int) -> dict[str, Any]:
        feature, values = self._features[i], self._columns[i]
        if isinstance(values, np.ndarray):
            values = [None if value != value else value for value in values.tolist()]
        return {"name": feature.name, "shape": [self.n], "datatype": SCORER_DATATYPES[feature.type], "data": values}


def _padded(text: bytes) -> bytes:
    """JSON of such a length that the numbers behind it lie where a processor reads them fastest."""
    return text + b" " * (-len(text) % 8)


def _floats(values: Any) -> np.ndarray:
    """Numbers as float64, NaN for null."""
    if isinstance(values, list) and len(values) >= _LONG_LIST:
        with suppress(struct.error):  # there are nulls
            return np.frombuffer(struct.pack(f"{len(values)}d", *values))
    return np.asarray(values, np.float64)


def _columns(rows: Rows, width: int) -> list[Any]:
    return rows.columns if rows.matrix is None else [rows.matrix[position::width] for position in range(width)]


def _joined(parts: list[Any]) -> Any:
    """One column of all requests: a list, or an array where any part is one."""
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if not arrays:
        return list(chain.from_iterable(parts))
    if arrays[0].dtype == np.int64 and len(arrays) < len(parts):
        # A list of integers may hold null, which no array of them can.
        return list(chain.from_iterable(part.tolist() if isinstance(part, np.ndarray) else part for part in parts))
    return np.concatenate([np.asarray(part, arrays[0].dtype) for part in parts])
