"""The pages of the project and what a test can hold them to: examples, programs, links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
FIRST = "README.md"
"""The page whose examples make the chain that all other pages work with."""
HIDDEN = {".venv", ".nox", ".git"}
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path of the page below the root.
        line: number of its first line within the page.
        language: the word behind the fence, "" where none stands.
        text: what is between the fences.
    """

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Example:
    """A command that a page tells its reader to give.

    Attributes:
        page, line: where it stands.
        command: the command without prompt and remark.
        code: the exit code that the remark names ("exit code 3"), else 0.
        errors: the lines beginning with ``error:`` that the page shows below it; `…` stands for any text.
    """

    page: str
    line: int
    command: str
    code: int
    errors: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The command without assignments before it and ``uv run``."""
        words = shlex.split(self.command)
        while re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        return words[2:] if words[:2] == ["uv", "run"] else words

    @property
    def where(self) -> str:
        """Page and line, as an editor opens them."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page of the repository."""
    return [path for path in sorted(ROOT.rglob("*.md")) if not HIDDEN & set(path.relative_to(ROOT).parts)]


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = path.read_text(encoding="utf-8")
    page = path.relative_to(ROOT).as_posix()
    return [Block(page, text.count("\n", 0, m.start()) + 2, m[1], dedent(m[2])) for m in FENCE.finditer(text)]


def examples(path: Path) -> list[Example]:
    """The commands of a page in their order; one line may join several by ``&&``."""
    found = []
    for block in blocks(path):
        if block.language != "console":
            continue
        lines = block.text.splitlines()
        for number, line in enumerate(lines):
            if not line.startswith("$ "):
                continue
            command, remark = _without_remark(line.removeprefix("$ "))
            code = re.search(r"(?:exit code|çıkış kodu) (\d+)", remark)
            below = next((i for i in range(number + 1, len(lines)) if lines[i].startswith("$ ")), len(lines))
            errors = tuple(shown for shown in lines[number + 1 : below] if shown.startswith("error: "))
            parts = [command] if command.startswith("cd ") else command.split(" && ")
            found += [
                Example(block.page, block.line + number, part.strip(), int(code[1]) if code else 0, errors)
                for part in parts
            ]
    return found


def _without_remark(line: str) -> tuple[str, str]:
    """Split a line at its remark: a ``#`` outside of quotes, behind a blank."""
    lexer = shlex.shlex(line, posix=False, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "", True
    place = 0
    for word in lexer:
        place = line.index(word, place)
        if word.startswith("#"):
            return line[:place].rstrip(), line[place:]
        place += len(word)
    return line.rstrip(), ""
