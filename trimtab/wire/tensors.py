"""Tensors of the Open Inference Protocol (V2), as JSON and in the binary tensor extension.

In the extension a body is a JSON object followed by the raw little-endian bytes of each tensor that names its
``binary_data_size``; the header ``Inference-Header-Content-Length`` says where the JSON ends. An element of BYTES is
its length in four bytes, then itself. Source: KServe's Open Inference Protocol, Triton's binary tensor data extension.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

HEADER_LENGTH = b"inference-header-content-length"
"""The header that says how long the JSON part of a body is."""
EXTENSION = "binary_tensor_data"
"""The name under which a server's metadata lists the extension."""

MATRIX_EXTENSION = "feature_matrix"
"""The name under which a server says that it takes numeric features as one tensor [rows, features]."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "FP64": np.dtype("<f8"),
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "INT16": np.dtype("<i2"),
    "INT8": np.dtype("i1"),
    "UINT64": np.dtype("<u8"),
    "UINT32": np.dtype("<u4"),
    "UINT16": np.dtype("<u2"),
    "UINT8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""What an element of each datatype is, but for BYTES."""

Shape = Annotated[list[Annotated[int, msgspec.Meta(le=2**63 - 1)]], msgspec.Meta(max_length=8)]
"""What a body may say of a shape: numbers without end would take minutes to multiply."""

_LENGTH = struct.Struct("<I")
_MOST_DIGITS = 18


class TensorError(ValueError):
    """A body or a tensor that is not what it says it is; the message says what would be right."""


class InputParameters(msgspec.Struct, frozen=True):
    """What may be said of an input."""

    binary_data_size: int | None = None


class Input(msgspec.Struct):
    """One input tensor; ``data`` stays unparsed, and is absent where it is binary."""

    name: str
    shape: Shape
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: InputParameters = InputParameters()


class OutputParameters(msgspec.Struct, frozen=True):
    """What may be asked of an output."""

    binary_data: bool | None = None


class AskedOutput(msgspec.Struct):
    """One output that the caller wants."""

    name: str
    parameters: OutputParameters = OutputParameters()


def split_body(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    """The JSON part of a body, and the bytes of its binary tensors (none without the header).

    Raises
    ------
    TensorError
        If the header is no length within the body.
    """
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isdigit() or len(header_length) > _MOST_DIGITS or int(header_length) > len(body):
        raise TensorError(
            f"Inference-Header-Content-Length is {header_length[:100].decode('latin-1')!r}; it must be the length of "
            f"the JSON part, at most {len(body)}, the length of the body"
        )
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def take_binary(
    tensors: Sequence[tuple[str, str, Sequence[int], int | None]], binary: memoryview
) -> dict[str, np.ndarray | list[str]]:
    """Cut the binary part into its tensors.

    Parameters
    ----------
    tensors
        Name, datatype, shape and ``binary_data_size`` (None: in the JSON) of every tensor, in their order.
    binary
        The bytes after the JSON.

    Returns
    -------
    dict
        By name a flat array, or a list of strings for BYTES; tensors in the JSON are left out.

    Raises
    ------
    TensorError
        If sizes, shapes and bytes do not agree.
    """
    found: dict[str, np.ndarray | list[str]] = {}
    start = 0
    for name, datatype, shape, size in tensors:
        if size is None:
            continue
        part = binary[start : start + size]
        if size < 0 or len(part) != size:
            raise TensorError(
                f"input {name!r} says binary_data_size {size}, but {len(binary) - start} bytes are left of the body"
            )
        found[name] = read_tensor(name, datatype, shape, part)
        start += size
    if start != len(binary):
        raise TensorError(f"{len(binary) - start} bytes of the body belong to no input; each must name its size")
    return found


def read_tensor(name: str, datatype: str, shape: Sequence[int], part: memoryview) -> np.ndarray | list[str]:
    """The elements of one binary tensor; the array shares the memory of ``part``.

    Raises
    ------
    TensorError
        If the datatype is unknown or the bytes do not fill the shape.
    """
    count = 1
    for length in shape:
        count *= max(length, 0)
    if datatype == "BYTES":
        return _read_strings(name, count, part)
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise TensorError(f"input {name!r} has datatype {datatype!r}; it must be one of {[*DTYPES, 'BYTES']}")
    if len(part) != count * dtype.itemsize:
        raise TensorError(
            f"input {name!r} of shape {list(shape)} and datatype {datatype} takes {count * dtype.itemsize} bytes; "
            f"there are {len(part)}"
        )
    if datatype == "BOOL" and (np.frombuffer(part, np.uint8) > 1).any():
        raise TensorError(f"input {name!r} holds a byte other than 0 and 1; BOOL takes those")
    return np.frombuffer(part, dtype)


def write_tensor(values: np.ndarray | Sequence[str], datatype: str) -> bytes:
    """The bytes of one tensor."""
    if datatype == "BYTES":
        parts = []
        for value in values:
            text = str(value).encode()
            parts.append(_LENGTH.pack(len(text)))
            parts.append(text)
        return b"".join(parts)
    return np.ascontiguousarray(values, DTYPES[datatype]).tobytes()


def _read_strings(name: str, count: int, part: memoryview) -> list[str]:
    found: list[str] = []
    start = 0
    try:
        while start < len(part):
            (length,) = _LENGTH.unpack_from(part, start)
            end = start + 4 + length
            if end > len(part):
                raise TensorError(f"input {name!r} ends within its element {len(found)}")
            found.append(str(part[start + 4 : end], "utf-8"))
            start = end
    except struct.error as error:
        raise TensorError(f"input {name!r} ends within the length of its element {len(found)}") from error
    except UnicodeDecodeError as error:
        raise TensorError(f"input {name!r}, element {len(found)}, is not UTF-8: {error}") from error
    if len(found) != count:
        raise TensorError(f"input {name!r} holds {len(found)} elements; its shape takes {count}")
    return found
