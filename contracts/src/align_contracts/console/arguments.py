"""Splits an argument list into flag values and positionals.

Not argparse: it cannot suggest the flag that was meant, reads ``-1e-3`` as a flag, and loses positionals that
follow a flag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from align_contracts.console.fields import Flag
from align_contracts.console.foreign import foreign
from align_contracts.console.making import MAKING, makes
from align_contracts.console.suggest import did_you_mean, plain
from align_contracts.errors import ConfigError

__all__ = ["Arguments", "common", "split"]

COMMON = {
    "--config": ("FILE", "Read this command's settings from a TOML recipe."),
    "--set": ("KEY=VALUE", "Override one setting of the recipe; may be repeated."),
    "--show-config": ("", "Print the settings that would be used and stop."),
    "--version": ("", "Print the version and stop."),
    "--help": ("", "Print this help and stop."),
}
"""Flags that every command has: metavar and help."""


def common(flags: Sequence[Flag]) -> dict[str, tuple[str, str]]:
    """Return the flags that a command has without declaring them: metavar and help of each."""
    own = {name for flag in flags for name in flag.names}
    return {name: row for name, row in {**(MAKING if makes(flags) else {}), **COMMON}.items() if name not in own}


@dataclass
class Arguments:
    """What an argument list said.

    Attributes:
        values: Each flag's value (text, a bool for a switch, a list of texts) and the flag as written.
        config: The recipe, if one was named.
        sets: The ``--set`` texts in order.
        switches: Which of the other common flags were given, such as ``--show-config``.
    """

    values: dict[Flag, tuple[str | bool | list[str], str]] = field(default_factory=dict)
    config: Path | None = None
    sets: list[str] = field(default_factory=list)
    switches: set[str] = field(default_factory=set)


def _is_flag(token: str) -> bool:
    return token.startswith("--") or token == "-h"


def split(
    argv: Sequence[str], flags: Sequence[Flag], command: str, others: Mapping[str, Sequence[Flag]] | None = None
) -> Arguments:
    """Match an argument list against the flags of a command.

    Args:
        argv: The arguments after the command's name.
        flags: The command's settings.
        command: What to call the command in messages.
        others: The flags of the script's other commands, by what those are called.

    Raises:
        ConfigError: A flag is unknown or lacks its value, or an argument is left over.
    """
    said = Arguments()
    named = _names(flags)
    rest: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token == "--":
            rest += tokens
            break
        if not _is_flag(token):
            if token.startswith("-") and len(token) == 2 and token[1].isalpha():
                raise _unknown(token, named, command, others or {})
            rest.append(token)
            continue
        written, equals, attached = token.partition("=")
        name = "--help" if written == "-h" else written.replace("_", "-")
        if name not in named:
            raise _unknown(written, named, command, others or {})
        flag = named[name]
        if flag is None:
            _common(said, name, attached if equals else None, tokens)
        elif flag.kind == "switch" and not equals:
            said.values[flag] = (not _negates(flag, name), written)
        elif flag.kind == "list":
            new = [attached] if equals else _take(tokens)
            if not new:
                raise ConfigError(f"{written} needs a value", expected=f"{flag.metavar} …")
            old = said.values.get(flag, ([], ""))[0]
            parts = [part.strip() for one in new for part in one.split(",") if part.strip()]
            said.values[flag] = ([*(old if isinstance(old, list) else ()), *parts], written)
        else:
            said.values[flag] = (attached if equals else _value(written, flag.metavar, tokens), written)
    _positionals(said, rest, flags, command)
    return said


def _names(flags: Sequence[Flag]) -> dict[str, Flag | None]:
    named: dict[str, Flag | None] = dict.fromkeys(common(flags))
    for flag in flags:
        if flag.positional or flag.kind == "table":
            continue
        for name in flag.names:
            named[name.replace("_", "-")] = flag
            if flag.kind == "switch":
                named[f"--no-{name[2:].replace('_', '-')}"] = flag
    return named


def _negates(flag: Flag, name: str) -> bool:
    return name not in {one.replace("_", "-") for one in flag.names}


def _take(tokens: list[str]) -> list[str]:
    taken: list[str] = []
    while tokens and not _is_flag(tokens[0]):
        taken.append(tokens.pop(0))
    return taken


def _value(written: str, metavar: str, tokens: list[str]) -> str:
    if not tokens or _is_flag(tokens[0]):
        raise ConfigError(f"{written} needs a value", expected=metavar)
    return tokens.pop(0)


def _common(said: Arguments, name: str, attached: str | None, tokens: list[str]) -> None:
    metavar = COMMON.get(name, ("",))[0]
    if not metavar:
        if attached is not None:
            raise ConfigError(f"{name} takes no value", got=repr(attached))
        said.switches.add(name)
        return
    value = attached if attached is not None else _value(name, metavar, tokens)
    if name == "--config":
        said.config = Path(value)
    else:
        said.sets.append(value)


def _unknown(
    written: str, named: Mapping[str, Flag | None], command: str, others: Mapping[str, Sequence[Flag]]
) -> ConfigError:
    do: str | None
    if plain(written) == command.rsplit(maxsplit=1)[-1]:
        do = "It is the command itself: leave it out"
    else:
        elsewhere = {title: [name for flag in flags for name in flag.names] for title, flags in others.items()}
        otherwise = f"'{command} --help' lists the flags"
        do = foreign(written, named, elsewhere) or did_you_mean(written, named, otherwise, elsewhere)
    return ConfigError(f"{command}: unknown flag {written}", do=do)


def _positionals(said: Arguments, rest: list[str], flags: Sequence[Flag], command: str) -> None:
    for flag in (one for one in flags if one.positional):
        if not rest:
            return
        if flag.kind == "list":
            said.values[flag] = (list(rest), flag.names[0])
            rest.clear()
        else:
            said.values[flag] = (rest.pop(0), flag.names[0])
    if rest:
        raise ConfigError(f"{command}: unexpected argument '{rest[0]}'", do=f"'{command} --help' lists the flags")
