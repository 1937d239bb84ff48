"""Help pages: one for a program, one for a command; as wide as the terminal, coloured only on one."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from align_contracts.console.arguments import common
from align_contracts.console.fields import Flag

__all__ = ["command_help", "program_help", "styled"]

_STYLES = {"heading": "1", "flag": "36", "dim": "2", "error": "1;31"}
_WIDEST = 110
LAST = ("resume", "tracking", "compute", "Running")
"""Headings at the end, wherever their settings are inherited from: what is seldom set, and changes no result."""
_COLUMN = 30


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return ``text`` in a style (heading, flag, dim, error) when the stream is a colour terminal.

    Honours ``NO_COLOR`` (https://no-color.org) and ``TERM=dumb``.
    """
    out = stream if stream is not None else sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not out.isatty()
    return text if plain else f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _width() -> int:
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, _WIDEST))


def program_help(prog: str, description: str, commands: Iterable[tuple[str, str]], examples: Sequence[str] = ()) -> str:
    """Return the help of a program: what it does, its commands with a line each, then the examples."""
    rows = [(name, help_, "") for name, help_ in commands]
    return "\n".join(
        [
            f"{styled('Usage:', 'heading')} {prog} COMMAND [flags]",
            "",
            _wrapped(description),
            "",
            styled("Commands:", "heading"),
            *_table(rows, _column(rows)),
            *_examples(examples),
            "",
            _wrapped(f"'{prog} COMMAND --help' explains a command; '{prog} --version' prints the version."),
        ]
    )


def command_help(
    command: str, help_: str, flags: Sequence[Flag], sections: Sequence[str], examples: Sequence[str]
) -> str:
    """Return the help of a command: its flags by group with their defaults, then the examples."""
    usage = [command]
    for flag in flags:
        shown = flag.names[0] if flag.positional else f"{flag.names[0]} {flag.metavar}"
        if flag.required and flag.kind != "table":
            usage.append(shown + (" …" if flag.positional and flag.kind == "list" else ""))
    if not all(flag.required for flag in flags):
        usage.append("[flags]")
    lines = [*_usage(usage), "", _wrapped(help_)]
    tables = {title: [_row(flag) for flag in members] for title, members in _grouped(flags).items()}
    tables["Common"] = [
        (f"{'-h, ' if name == '--help' else ''}{name} {metavar}".strip(), text, "")
        for name, (metavar, text) in common(flags).items()
    ]
    column = _column([row for rows in tables.values() for row in rows])
    for title, rows in tables.items():
        lines += ["", styled(f"{title}:", "heading"), *_table(rows, column)]
    if sections:
        named = ", ".join(f"[{section}]" for section in sections)
        lines += ["", _wrapped(f"Recipe sections read, in order: {named}. Default < recipe < --set < flag.")]
    return "\n".join([*lines, *_examples(examples)])


def _examples(examples: Sequence[str]) -> list[str]:
    """Lay out command lines; one that is longer than a line goes on behind a backslash, as a shell reads it."""
    lines = ["", styled("Examples:", "heading")] if examples else []
    for example in examples:
        line, room = " ", _width() - len(" \\")
        for part in re.split(" (?=--)", example):  # a flag stays with its values, where a line can hold them
            for word in [part] if len(part) + 4 <= room else part.split(" "):
                if len(line) + 1 + len(word) > room and line.strip():
                    lines.append(f"{line} \\")
                    line = "   "
                line += f" {word}"
        lines.append(line)
    return lines


def _grouped(flags: Sequence[Flag]) -> dict[str, list[Flag]]:
    groups: dict[str, list[Flag]] = {"Required": []}
    for flag in flags:
        if flag.kind == "table":
            continue
        title = "Required" if flag.required else flag.group or ("Running" if flag.runtime else "Settings")
        groups.setdefault(title, []).append(flag)
    if not groups["Required"]:
        del groups["Required"]
    for title in LAST:
        if title in groups:
            groups[title] = groups.pop(title)
    return groups


def _row(flag: Flag) -> tuple[str, str, str]:
    first, *others = flag.names
    text = flag.description
    if flag.positional:
        left = first + (" …" if flag.kind == "list" else "")
    elif flag.kind == "switch":
        left = ", ".join((f"--[no-]{first[2:]}", *others))
    else:
        left = f"{', '.join((first, *others))} {flag.metavar}{',…' if flag.kind == 'list' else ''}"
        if len(left) + 2 > _width():  # choices without a blank between them, which nothing can wrap
            left = left.replace(flag.metavar, "NAME")
            text = f"{text}: {', '.join(map(str, flag.choices))}"
    return left, text, _default(flag)


def _default(flag: Flag) -> str:
    value = flag.default
    if flag.required or value is None or value in ((), [], ""):
        return ""
    if flag.kind == "switch":
        return "[on]" if value else "[off]"
    return f"[{_text(value)}]"


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return value.as_posix()
    return str(getattr(value, "value", value))


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _width())) if text else ""


def _usage(parts: Sequence[str]) -> list[str]:
    lines, indent = [f"Usage: {parts[0]}"], " " * (len(parts[0]) + 8)
    for part in parts[1:]:
        if len(lines[-1]) + 1 + len(part) > _width():
            lines.append(indent + part)
        else:
            lines[-1] += f" {part}"
    return [lines[0].replace("Usage:", styled("Usage:", "heading"), 1), *lines[1:]]


def _column(rows: Sequence[tuple[str, str, str]]) -> int:
    """Return where the texts begin: after the longest left part, of those that leave room for a text."""
    return max((len(left) + 4 for left, _, _ in rows if len(left) + 4 <= _COLUMN), default=_COLUMN)


def _table(rows: Sequence[tuple[str, str, str]], column: int) -> list[str]:
    """Lay out (left, text, default) rows: the text beside a short left part, below a long one."""
    lines: list[str] = []
    for left, text, default in rows:
        words = textwrap.wrap(f"{text} {default}".strip(), max(20, _width() - column)) or [""]
        if default and words[-1].endswith(default):
            words[-1] = words[-1].removesuffix(default) + styled(default, "dim")
        head = "  " + styled(left, "flag")
        if len(left) + 4 <= column:
            lines.append((head + " " * (column - 2 - len(left)) + words.pop(0)).rstrip())
        else:
            lines.append(head)
        lines += [" " * column + one for one in words if one]
    return lines
