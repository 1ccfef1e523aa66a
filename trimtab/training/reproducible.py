"""Files that tell nothing of when and where they were made, so that the same content has the same digest."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_reproducible(path: Path) -> None:
    """Write a skops file anew without what differs from run to run: addresses of objects and times."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[int, int] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        own: dict[str, Any] = {}
        for key, value in node.items():
            if key == "__id__":
                own[key] = numbers.setdefault(value, len(numbers) + 1)
            elif key == "file":
                stem, _, suffix = value.partition(".")
                own[key] = f"{numbers.setdefault(int(stem), len(numbers) + 1)}.{suffix}"
            else:
                own[key] = renumber(value)
        return own

    schema = renumber(json.loads(entries.pop("schema.json")))
    renamed = {f"{numbers[int(name.split('.')[0])]}.{name.split('.')[1]}": entries[name] for name in entries}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted({**renamed, "schema.json": json.dumps(schema).encode()}.items()):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), content, zipfile.ZIP_DEFLATED)
