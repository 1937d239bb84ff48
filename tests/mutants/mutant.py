"""A planted bug: one or two lines of a source file as a hurried author might write them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class StaleMutantError(ValueError):
    """A mutant whose place in the sources is gone, or is no longer one place."""


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        name: what was done wrong.
        file: the module, from its package on: ``align_rl/algorithms/gae.py``.
        old: the right text; it occurs exactly once in the file.
        new: the wrong text.
        why: what it does to a run.
        first: the test file of the suite that should see it; tried before the others.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    first: str

    @property
    def path(self) -> Path:
        """Where the module is, from the repository's root."""
        package = self.file.split("/")[0]
        home = "contracts" if package == "align_contracts" else f"packages/{package.replace('_', '-')}"
        return Path(home, "src", self.file)

    def plant(self, root: Path) -> str:
        """Give the text of the module under `root` with the bug in it.

        Raises:
            StaleMutantError: `old` is not there exactly once.
        """
        text = (root / self.path).read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise StaleMutantError(
                f"mutant {self.name} is stale: {self.path} has {found} times\n    {self.old}\n"
                "expected once; say in tests/mutants/catalogue where the bug would be made now"
            )
        return text.replace(self.old, self.new)


def bugs(file: str, first: str, *each: tuple[str, str, str, str]) -> Iterator[Mutant]:
    """Yield the mutants of one file: (name, old, new, why)."""
    yield from (Mutant(name, file, old, new, why, first) for name, old, new, why in each)
