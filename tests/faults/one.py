"""The process of one row: ``python -m faults.one MODULE NAME SCRATCH TRIES SEED`` leaves its count in a file."""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

COUNT = "count.json"


def main(module: str, name: str, scratch: str, tries: str, seed: str) -> None:
    """Run the row in the folder ``work`` of its scratch directory."""
    row = next(row for row in importlib.import_module(module).ROWS if row.name == name)
    work = Path(scratch, "work")
    work.mkdir()
    count = row.run(work, int(tries), int(seed))
    Path(scratch, COUNT).write_text(json.dumps(asdict(count)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
