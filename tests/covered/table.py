"""From coverage's JSON report to a table of branches and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True)
class Row:
    """One module: how many of its branches and statements the tests took, and the lines where one was not."""

    module: str
    branches: int
    taken: int
    statements: int
    run: int
    open_lines: tuple[int, ...] = ()

    @property
    def percent(self) -> float:
        """Branches taken in percent; of a module without any, statements run."""
        if self.branches:
            return 100.0 * self.taken / self.branches
        return 100.0 * self.run / self.statements if self.statements else 100.0


def rows(report: Mapping[str, Any], modules: Sequence[str]) -> list[Row]:
    """Return a row for each module, in the order given.

    Args:
        report: what ``coverage json`` writes, measured with ``--branch``.
        modules: dotted names.

    Raises:
        KeyError: a module was never measured, so its name is wrong or no test imports it.
    """
    files = {_dotted(path): found for path, found in report["files"].items()}
    found = []
    for module in modules:
        numbers = files[module]["summary"]
        lines = tuple(sorted({line for line, _ in files[module].get("missing_branches", ())}))
        found.append(
            Row(
                module,
                numbers["num_branches"],
                numbers["covered_branches"],
                numbers["num_statements"],
                numbers["covered_lines"],
                lines,
            )
        )
    return found


def render(found: Sequence[Row], least: float) -> str:
    """Return the table, the total last, and below it a verdict for every module under `least` percent."""
    branches, taken = sum(row.branches for row in found), sum(row.taken for row in found)
    statements, run = sum(row.statements for row in found), sum(row.run for row in found)
    total = Row("all", branches, taken, statements, run)
    wide = max(len(row.module) for row in (*found, total))
    lines = [f"{'module':{wide}}  branches   taken  percent  not taken at"]
    for row in (*found, total):
        where = ", ".join(map(str, row.open_lines))
        lines.append(f"{row.module:{wide}}  {row.branches:8}  {row.taken:6}  {row.percent:7.1f}  {where}".rstrip())
    low = [f"{row.module} {row.percent:.1f} %" for row in found if row.percent < least]
    verdict = f"FAIL below {least:g} %: {', '.join(low)}" if low else f"pass, every module at {least:g} % or more"
    return "\n".join([*lines, f"covered: {verdict}"])


def _dotted(path: str) -> str:
    parts = PurePath(path).with_suffix("").parts
    parts = parts[parts.index("src") + 1 :] if "src" in parts else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
