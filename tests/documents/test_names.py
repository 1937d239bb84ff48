"""Names that the documents use are those of the code: linked functions, quoted messages, linked files."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from documents.pages import ROOT, blocks, pages

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
LINKS = [
    (path, text, target)
    for path in pages()
    for text, target in LINK.findall(re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S))
    if not re.match(r"https?://|mailto:", target)
]
SOURCES = [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("contracts/src/**/*.py"), *ROOT.glob("pipeline/*.py")]


@cache
def defined(path: Path) -> frozenset[str]:
    """The functions and classes of a module, methods as Class.method."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            found |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    return frozenset(found)


@cache
def headings(path: Path) -> frozenset[str]:
    """The anchors of a page, as a forge makes them of its headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()) for title in titles)
    return frozenset(title.replace(" ", "-") for title in plain)


@cache
def texts() -> tuple[str, ...]:
    """The text of every string constant of the sources; the places of f-strings are an ellipsis."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            if isinstance(node, ast.JoinedStr):
                found.append("".join(one.value if isinstance(one, ast.Constant) else "…" for one in node.values))
    return tuple(" ".join(text.split()) for text in found)


def test_links_lead_to_files_and_headings_that_are_there():
    lost = []
    for path, _, target in LINKS:
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in headings(file)):
            lost.append(f"{path.relative_to(ROOT)}: {target}")
    assert lost == []


def test_functions_that_a_page_names_are_in_the_file_that_it_links():
    named = [(path, text[1:-1], target) for path, text, target in LINKS if target.endswith(".py") and text[0] == "`"]
    assert len(named) > 30
    lost = [
        f"{path.name}: {name} in {target}"
        for path, name, target in named
        if "/" not in name and not name.endswith(".py") and name not in defined((path.parent / target).resolve())
    ]
    assert lost == []


def test_no_page_links_to_a_line_that_will_move():
    assert [target for _, _, target in LINKS if re.search(r"#L\d+|\.py:\d+", target)] == []


@pytest.mark.parametrize("page", ["docs/troubleshooting.md"])
def test_messages_that_a_page_quotes_are_those_of_the_code(page):
    """A quoted message stands in a ```text block, a line each; … stands for what changes."""
    quoted = [line for block in blocks(ROOT / page) if block.language == "text" for line in block.text.splitlines()]
    assert len(quoted) > 15
    lost = []
    for line in filter(None, quoted):
        fragments = [part.strip(" .:;,()") for part in line.split("…")]
        if not all(any(fragment in text for text in texts()) for fragment in fragments if fragment):
            lost.append(line)
    assert lost == []
