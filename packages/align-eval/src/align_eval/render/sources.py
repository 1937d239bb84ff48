"""Short keys for the artifacts behind the numbers: J1 is the judgments of the first run, S the SFT policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_eval.render.document import Keys, Source

Json = Mapping[str, Any]


class Sources:
    """Finds the keys of a number.

    Args:
        report: The document of `results.build`.
    """

    def __init__(self, report: Json) -> None:
        self._inputs = report["inputs"]
        self._methods = {run["label"]: run["method"] for run in report["runs"]}

    def run(self, label: str, *roles: str) -> Keys:
        """The artifacts of one run in these roles (policy, responses, judgments)."""
        return tuple(row["key"] for row in self._inputs if row["run"] == label and row["role"] in roles)

    def method(self, name: str, *roles: str) -> Keys:
        """Those of all runs of a method, role by role."""
        labels = [label for label, method in self._methods.items() if method == name]
        return tuple(key for role in roles for label in labels for key in self.run(label, role))

    def all(self, *roles: str) -> Keys:
        """Those of all trained runs."""
        return tuple(key for role in roles for label in self._methods for key in self.run(label, role))

    def aa(self, *roles: str) -> Keys:
        """Those of the A/A rows."""
        rows = (row for row in self._inputs if row["run"] and row["run"] not in self._methods)
        return tuple(row["key"] for row in rows if row["role"] in roles)

    def role(self, name: str) -> Keys:
        """What all runs share: ``sft policy``, ``reward model``, ``dataset``, ``baseline responses``."""
        return tuple(row["key"] for row in self._inputs if row["role"] == name and row["run"] is None)

    def listed(self) -> list[Source]:
        """All of them, in the order of the report."""
        return [Source(row["key"], row["role"], row["name"], row["content_digest"]) for row in self._inputs]


def short(keys: Sequence[str]) -> str:
    """Keys as a reader takes them in: ``J1–J3, P1``.

    Args:
        keys: Keys; runs of the same letter with consecutive numbers are drawn together.
    """
    found: list[list[str]] = []
    for key in dict.fromkeys(keys):
        last = found[-1][-1] if found else ""
        if last[:1] == key[:1] and last[1:].isdigit() and key[1:].isdigit() and int(key[1:]) == int(last[1:]) + 1:
            found[-1].append(key)
        else:
            found.append([key])
    parts = [part for group in found for part in (group if len(group) < 3 else [f"{group[0]}–{group[-1]}"])]
    return ", ".join(parts)
