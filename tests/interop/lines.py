"""One line for each thing tried. Both environments write here, so only the standard library is used."""

import json
from pathlib import Path

LINES = "lines.jsonl"


def say(run: Path, counterpart: str, compared: str, figure: str, passed: bool) -> None:
    """Print and keep one line: the counterpart, what is compared, the figure, the verdict."""
    print(f"{counterpart:<22} {compared:<58} {figure:<52} {'pass' if passed else 'FAIL'}", flush=True)
    with (run / LINES).open("a") as file:
        file.write(json.dumps({"counterpart": counterpart, "compared": compared, "passed": bool(passed)}) + "\n")


def verdict(run: Path, expected: int) -> bool:
    """Say whether all the lines are there and passed."""
    path = run / LINES
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return len(lines) == expected and all(line["passed"] for line in lines)
