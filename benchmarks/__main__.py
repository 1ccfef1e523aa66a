"""``python -m benchmarks NAME [arguments]``: run a benchmark, show and keep its figures."""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.figures import Figures, machine, versions

FOLDER = Path(__file__).parent
OUTPUT = FOLDER.parent / ".benchmarks"
_NOT_BENCHMARKS = {"__init__", "__main__", "figures", "populations"}


def main(arguments: list[str]) -> int:
    """Run the named benchmark; exit code 2 if there is none of that name."""
    names = sorted({path.stem for path in FOLDER.glob("*.py")} - _NOT_BENCHMARKS)
    if not arguments or arguments[0] not in names:
        given = f"there is no benchmark {arguments[0]!r}; " if arguments else ""
        print(f"{given}give one of: {', '.join(names)} (make bench NAME=...)", file=sys.stderr)
        return 2
    name, *rest = arguments
    where = machine()
    found: Figures = importlib.import_module(f"benchmarks.{name}").run(rest)
    _show(found)
    started = datetime.now(UTC)
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / f"{name}-{started:%Y%m%dT%H%M%SZ}.json"
    kept = {
        **{"benchmark": name, "arguments": rest, "at": started.isoformat(timespec="seconds")},
        **{"figures": found.values, "ratio": {"name": found.ratio_name, "value": found.ratio}},
        **{"versions": versions(), "machine": where},
    }
    path.write_text(json.dumps(kept, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    print(f"{found.ratio_name}: {'not measured' if found.ratio is None else f'{found.ratio:.3f}'}")
    return 0


def _show(found: Figures) -> None:
    console = Console(highlight=False)
    for table in found.tables:
        shown = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False)
        for index, heading in enumerate(table.headings):
            shown.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index > 0)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        console.print()
    for note in found.notes:
        console.print(note)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
