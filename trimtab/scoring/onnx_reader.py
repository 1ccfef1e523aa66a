"""The parts of an ONNX file that tell what its trees are, read without the onnx package, which no image holds.

Field numbers are those of ONNX's ``onnx.proto`` (IR version 10); the encoding is that of Protocol Buffers. Fields that
are not needed are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MOST_SHIFT = 63
# TensorProto.DataType
_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 11: "<f8"}


class UnreadableError(ValueError):
    """The bytes are no ONNX model, or hold what is not read here."""


@dataclass(frozen=True)
class Node:
    """One operator: what it reads, what it writes, and its attributes by name (numbers, lists of them, or arrays)."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Graph:
    """Operators in their order, and the constants that they read."""

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray] = field(hash=False)


def read_graph(model: bytes) -> Graph:
    """The graph of an ONNX model.

    Raises
    ------
    UnreadableError
        If these are no such bytes, or hold an attribute or a tensor of a kind that is not read here.
    """
    nodes, constants = [], {}
    try:
        for number, value in _fields(_only(memoryview(model), 7)):
            if number == 1:
                nodes.append(_node(value))
            elif number == 5:
                name, array = _tensor(value)
                constants[name] = array
    except (TypeError, struct.error) as error:
        raise UnreadableError(f"a field is of another kind than ONNX has it: {error}") from error
    return Graph(tuple(nodes), constants)


def _node(data: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    attributes = {}
    for number, value in _fields(data):
        if number in texts:
            texts[number].append(_text(value))
        elif number == 5:
            name, found = _attribute(value)
            attributes[name] = found
    return Node("".join(texts[4]), tuple(texts[1]), tuple(texts[2]), attributes)


def _attribute(data: memoryview) -> tuple[str, Any]:
    name, value = "", None
    ints: list[int] = []
    for number, found in _fields(data):
        match number:
            case 1:
                name = _text(found)
            case 2:
                value = struct.unpack("<f", found)[0]
            case 3:
                value = _signed(found)
            case 5:
                value = _tensor(found)[1]
            case 8:
                # Each by itself, or all packed: a writer may do either.
                ints += [_signed(found)] if isinstance(found, int) else map(_signed, _varints(found))
            case 4 | 6 | 7 | 9 | 10 | 11:
                raise UnreadableError(f"an attribute is of a kind (field {number}) that is not read here")
    return name, ints if value is None else value


def _tensor(data: memoryview) -> tuple[str, np.ndarray]:
    name, kind, raw = "", 0, None
    shape: list[int] = []
    for number, found in _fields(data):
        match number:
            case 1:
                shape += [found] if isinstance(found, int) else _varints(found)
            case 2:
                kind = found
            case 8:
                name = _text(found)
            case 9:
                raw = found
            case 4 | 5 | 6 | 7 | 10 | 11 | 13 | 14:
                raise UnreadableError(f"a tensor keeps its values in field {number}; only raw_data is read here")
    if kind not in _DTYPES or raw is None:
        raise UnreadableError(f"tensor {name!r} of data type {kind} is not read here")
    try:
        return name, np.frombuffer(raw, _DTYPES[kind]).reshape(shape)
    except ValueError as error:
        raise UnreadableError(f"tensor {name!r} does not fill its shape {shape}: {error}") from error


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int for a varint, else its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise UnreadableError(f"a field is of wire type {kind}; ONNX has none")
        if at + size > len(data):
            raise UnreadableError(f"a field of {size} bytes ends beyond the {len(data)} that there are")
        yield number, data[at : at + size]
        at += size


def _only(data: memoryview, wanted: int) -> memoryview:
    found = [value for number, value in _fields(data) if number == wanted]
    if len(found) != 1 or isinstance(found[0], int):
        raise UnreadableError(f"there are {len(found)} graphs; a model has one")
    graph: memoryview = found[0]
    return graph


def _varints(data: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= _MOST_SHIFT:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise UnreadableError("a number does not end; these are no Protocol Buffers")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(value: Any) -> str:
    try:
        return str(value, "utf-8")
    except (TypeError, UnicodeDecodeError) as error:
        raise UnreadableError(f"a name is no text: {error}") from error
