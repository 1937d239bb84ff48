"""Recipes (TOML files of settings) and ``--set`` overrides."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from align_contracts.canonical import MAX_DEPTH
from align_contracts.console.fields import Flag
from align_contracts.console.foreign import foreign
from align_contracts.console.suggest import did_you_mean
from align_contracts.errors import AlignError, ConfigError, MissingError, sentences
from align_contracts.nearby import closest, inside
from align_contracts.paths import printable

__all__ = ["SECTIONS", "Settings", "parse_set", "read_recipe"]

SECTIONS = ("data", "base", "sft", "rm", "rl", "ppo", "grpo", "respond", "judge", "sweep", "compare", "pipeline")
"""The tables a recipe may have."""
MAX_RECIPE_BYTES = 2**20
_RECIPES = Path("recipes")
_SUFFIX = ".toml"


def read_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """Read a recipe and return its sections.

    Args:
        path: A TOML file whose top level holds only tables named in `SECTIONS`.

    Raises:
        MissingError: There is no such file.
        ConfigError: The file is not TOML, or has a section that does not exist.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_RECIPE_BYTES + 1)
        if len(data) > MAX_RECIPE_BYTES:
            raise ConfigError(f"{path}: too large for a recipe", expected=f"at most {MAX_RECIPE_BYTES} bytes")
        loaded = tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError:
        written = "`align-contracts recipes --out recipes` writes the recipes that come with align"
        raise MissingError(f"there is no recipe {path}", do=sentences(_meant(path), written)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}", got=error) from None
    except AlignError:
        raise
    except (ValueError, RecursionError) as error:  # not TOML, a number of thousands of digits, or nested without end
        raise ConfigError(f"{path} is not TOML", got=error) from None
    for name, value in loaded.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: '{name}' stands outside any section", do="Move it under a [section]")
        if name not in SECTIONS:
            do = did_you_mean(name, SECTIONS, f"Sections: {', '.join(SECTIONS)}")
            raise ConfigError(f"{path}: unknown section [{name}]", do=do)
    return loaded


def _meant(path: Path) -> str | None:
    """Say which recipe was meant by a path where none is: there, or of that name among those that come with align."""
    ours = _RECIPES / path.name
    if os.path.isfile(whole := f"{ours}".removesuffix(_SUFFIX) + _SUFFIX):
        return f"Did you mean {printable(whole)}?"
    there = None if path.parent == Path() else inside(path.parent, _SUFFIX)  # where one works, files are of all kinds
    return closest(path, _SUFFIX) or closest(ours, _SUFFIX) or there or inside(_RECIPES, _SUFFIX)


def parse_set(text: str) -> tuple[str, str]:
    """Split ``key=value`` of one ``--set``.

    Raises:
        ConfigError: There is no ``=`` or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("--set needs key=value", got=repr(text))
    return key.strip().replace("-", "_"), value.strip()


def toml_value(text: str) -> Any:
    """Return the TOML value that ``text`` spells, or the bare text when it spells none."""
    if "\n" in text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # as in `read_recipe`
        return text


def _check_plain(value: Any, where: str, level: int = 0) -> None:
    if level > MAX_DEPTH:
        raise ConfigError(f"{where}: nested too deep", expected=f"at most {MAX_DEPTH} levels")
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{where}: a text with a NUL character")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for inner in value:
            _check_plain(inner, where, level + 1)


class Settings:
    """Values collected from several sources, the later ones winning, each remembering where it came from.

    Args:
        command: What to call the command in messages, for example ``align-rl ppo``.
        flags: The settings the command knows.
        sections: The recipe sections the command reads, in order.
        others: The flags of the script's other commands, by what those are called.
    """

    def __init__(
        self,
        command: str,
        flags: Sequence[Flag],
        sections: Sequence[str],
        others: Mapping[str, Sequence[Flag]] | None = None,
    ) -> None:
        self.command = command
        self.sections = tuple(sections)
        self.others = {title: [flag.key for flag in flags] for title, flags in (others or {}).items()}
        self.flags = {flag.path: flag for flag in flags}
        self.values: dict[tuple[str, ...], Any] = {}
        self.origins: dict[tuple[str, ...], str] = {}

    def put(self, flag: Flag, value: Any, origin: str) -> None:
        """Give a setting its value; ``origin`` is shown when the value turns out to be wrong.

        Raises:
            ConfigError: The value is nested without end, a text in it has a NUL, which no path can hold, or a path is
                empty.
        """
        _check_plain(value, f"{flag.names[0]} ({origin or 'argument'})")
        if flag.metavar == "PATH" and "" in (value if isinstance(value, list) else [value]):  # where one stands
            raise ConfigError(f"{self.command}: {flag.names[0]}", expected="a path", got="nothing")
        self.values[flag.path] = flag.value(value)
        self.origins[flag.path] = origin

    def add_recipe(self, path: Path) -> None:
        """Take this command's sections of a recipe.

        Raises:
            MissingError: There is no such file.
            ConfigError: The file is malformed or has an unknown section or key.
        """
        recipe = read_recipe(path)
        for section in self.sections:
            for key, value in self._leaves(recipe.get(section, {})):
                flag = self.flags.get(key)
                if flag is None:
                    name = ".".join(key)
                    raise ConfigError(f"{path}: unknown key '{name}' in [{section}]", do=self._hint(name))
                self.put(flag, value, f"{path} [{section}]")

    def add_set(self, text: str) -> None:
        """Take one ``key=value``; the key may begin with a section, as in ``rl.num_iterations=2``.

        Raises:
            ConfigError: The key is unknown, or the text is not ``key=value``.
        """
        name, raw = parse_set(text)
        path = tuple(name.split("."))
        if path not in self.flags and path[0] in SECTIONS and len(path) > 1:
            if path[0] not in self.sections:
                reads = ", ".join(f"[{one}]" for one in self.sections) or "no section"
                raise ConfigError(f"--set {name}: {self.command} does not read [{path[0]}]", expected=reads)
            path = path[1:]
        flag = self.flags.get(path)
        if flag is None:
            raise ConfigError(f"--set: unknown key '{name}'", do=self._hint(".".join(path)))
        quoted = raw[:1] in ("'", '"')
        plain_text = flag.text and flag.kind == "value" and not quoted
        self.put(flag, raw if plain_text else toml_value(raw), f"--set {text}")

    def nested(self) -> dict[str, Any]:
        """Return the values as the nested dict that pydantic validates."""
        tree: dict[str, Any] = {}
        for path, value in self.values.items():
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = value
        return tree

    def _leaves(self, table: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        for key, value in table.items():
            path = (*prefix, key)
            inside = any(one[: len(path)] == path and len(one) > len(path) for one in self.flags)
            if isinstance(value, dict) and inside:
                yield from self._leaves(value, path)
            else:
                yield path, value

    def _hint(self, name: str) -> str | None:
        keys = [flag.key for flag in self.flags.values()]
        otherwise = f"'{self.command} --help' lists the settings"
        return foreign(name, keys, self.others) or did_you_mean(name, keys, otherwise, self.others)
