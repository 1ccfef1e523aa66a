"""What of an installed package a scorer never runs: left out of images, to keep them small and of no use to a thief.

Licences stay. What is left is proved by the golden rows, which every release scores before it serves.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

FOLDERS = frozenset({"tests", "bin", "__pycache__"})
"""Tests, scripts, and bytecode, which is compiled anew; wherever they are."""

SUFFIXES = (".pyi", ".pyx", ".pxd", ".pxi", ".c", ".cc", ".cpp", ".h", ".hpp", ".a", ".f90", ".lock")
"""Sources and headers of extension modules, type stubs."""

FILES = frozenset({"RECORD", "REQUESTED", "INSTALLER"})
"""What an installer notes for its own use."""

PATHS = (
    # Converters and quantisers of models, and a second copy of the runtime, for C programs.
    *(f"onnxruntime/{name}" for name in ("backend", "datasets", "quantization", "tools", "transformers")),
    "onnxruntime/capi/libonnxruntime.so*",
    # Used by those converters alone.
    *("google", "flatbuffers"),
    # Builds extension modules. (numpy.f2py does too, but `from numpy import *`, as scipy has it, loads it.)
    "numpy/distutils",
    *("joblib/test", "sklearn/datasets/data", "sklearn/datasets/images", "narwhals/testing"),
)

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"


def prune(site: Path) -> None:
    """Remove from a folder of installed packages what a scorer never runs, and symbols from shared libraries."""
    for pattern in PATHS:
        for path in site.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(site.rglob("*"), reverse=True):
        if path.is_dir() and path.name in FOLDERS:
            shutil.rmtree(path)
        elif path.is_file() and (path.name in FILES or path.name.endswith(SUFFIXES)):
            path.unlink()
        elif path.is_file() and ".so" in path.suffixes:
            strip(path)


def strip(library: Path) -> None:
    """Cut a shared library behind what is loaded of it: its sections, which only linkers and debuggers read.

    The same bytes on any machine, as no two versions of a ``strip`` program promise. Files of another kind are left.
    """
    content = bytearray(library.read_bytes())
    if not content.startswith(_ELF64_LITTLE_ENDIAN):
        return
    headers_at, entry_size, entries = *struct.unpack_from("<Q", content, 32), *struct.unpack_from("<HH", content, 54)
    end = headers_at + entry_size * entries
    for entry in range(entries):
        offset, _, _, size = struct.unpack_from("<QQQQ", content, headers_at + entry_size * entry + 8)
        end = max(end, offset + size)
    # No section headers, and so none that names them.
    struct.pack_into("<Q", content, 40, 0)
    struct.pack_into("<HHH", content, 58, 0, 0, 0)
    library.write_bytes(content[:end])
