"""The study ledger: proof from the manifests that only the method and the seed differ between the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align_contracts.errors import VerificationError

ABSENT = "—"
"""The value of a variable that a run does not have."""


@dataclass(frozen=True)
class Difference:
    """Runs whose value of a controlled variable is not the expected one."""

    runs: tuple[str, ...]
    expected: str
    got: str


@dataclass(frozen=True)
class Entry:
    """One variable over the runs.

    Attributes:
        name: What it is.
        values: Its value for each run that has it, as text.
        needed: The value that every run needs; None where any will do as long as it is the same.
    """

    name: str
    values: Mapping[str, str]
    needed: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is as a controlled comparison needs it."""
        return not self.differences()

    @property
    def expected(self) -> str | None:
        """The value that is needed, else that of most runs (of the first of them where as many have another)."""
        if self.needed is not None or not self.values:
            return self.needed
        return Counter(self.values.values()).most_common(1)[0][0]

    def differences(self) -> list[Difference]:
        """Which runs have another value than expected, grouped by that value."""
        expected = self.expected
        groups = {value: labels for value, labels in self._groups().items() if value != expected}
        return [Difference(tuple(labels), str(expected), value) for value, labels in groups.items()]

    def text(self) -> str:
        """``value`` if all runs agree, else each value with its runs; a method stands for all its runs."""
        groups = self._groups()
        if len(groups) == 1:
            return next(iter(groups))
        return "; ".join(f"{value} ({', '.join(self._short(labels))})" for value, labels in groups.items())

    def explain(self) -> str:
        """``expected 5e-06, got 1e-05 (grpo)``: the differences in words."""
        found = self.differences()
        got = "; ".join(f"{one.got} ({', '.join(self._short(one.runs))})" for one in found)
        return f"expected {self.expected}, got {got}"

    def _groups(self) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for label, value in self.values.items():
            groups.setdefault(value, []).append(label)
        return groups

    def _short(self, labels: Sequence[str]) -> list[str]:
        of: dict[str, list[str]] = {}
        for label in self.values:
            of.setdefault(label.rpartition("-")[0], []).append(label)
        whole = [method for method, runs in of.items() if method and set(runs) <= set(labels)]
        return whole + [label for label in labels if label.rpartition("-")[0] not in whole]


@dataclass(frozen=True)
class Ledger:
    """What was proved equal, what varies by design, and what a reader should know of the programs' versions.

    Attributes:
        controlled: Variables that must be equal; those that are not refuse the comparison.
        varied: Variables that differ by design, or are free.
        warned: Versions and machines: a difference is told, not refused.
    """

    controlled: tuple[Entry, ...]
    varied: tuple[Entry, ...]
    warned: tuple[Entry, ...] = ()

    @property
    def mismatches(self) -> tuple[Entry, ...]:
        """Controlled variables that differ."""
        return tuple(entry for entry in self.controlled if not entry.ok)

    def table(self) -> str:
        """The mismatches as aligned lines."""
        width = max((len(entry.name) for entry in self.mismatches), default=0)
        return "\n".join(f"  {entry.name:<{width}}  {entry.explain()}" for entry in self.mismatches)

    def varies(self) -> str:
        """What varies, in a line for the console: a method's own settings together, then what is free and differs."""
        own: dict[str, list[str]] = {}
        other = []
        for entry in self.varied:
            has = {label: value for label, value in entry.values.items() if value != ABSENT}
            if len(has) < len(entry.values):
                methods = dict.fromkeys(label.rpartition("-")[0] for label in has)
                own.setdefault(" and ".join(methods), []).append(f"{entry.name} {Entry(entry.name, has).text()}")
            elif len(set(has.values())) > 1:
                other.append(f"{entry.name} {entry.text()}")
        named = [f"{methods}: {', '.join(settings)}" for methods, settings in own.items()] + other
        return f"{len(self.controlled)} variables are equal in all runs; these vary: {'; '.join(named) or 'none'}."

    def require(self) -> None:
        """Refuse runs that cannot be compared.

        Raises:
            VerificationError: A controlled variable differs; the message is the table of what differs.
        """
        if self.mismatches:
            raise VerificationError(
                f"the runs differ in what a controlled comparison holds equal\n{self.table()}\n",
                do="Compare runs that share these, or give --allow-mismatch to report them all the same.",
            )

    def as_json(self) -> dict[str, Any]:
        """The ledger for the report."""
        return {
            "ok": not self.mismatches,
            "controlled": [_controlled(entry) for entry in self.controlled],
            "varied": [{"name": e.name, "value": e.text()} for e in self.varied],
            "warned": [{"name": e.name, "value": e.text()} for e in self.warned if not e.ok],
        }


def _controlled(entry: Entry) -> dict[str, Any]:
    differs = [{"runs": list(one.runs), "expected": one.expected, "got": one.got} for one in entry.differences()]
    return {
        "name": entry.name,
        "value": entry.text(),
        "equal": entry.ok,
        "expected": entry.expected,
        "differs": differs,
    }
