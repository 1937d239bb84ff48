"""What a config's pydantic fields say about its flags, and which of them identify the result."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from align_contracts.settings import split_config

__all__ = ["WRITTEN", "Flag", "aliases", "deterministic", "flags_of", "left_open", "planned", "runtime"]

_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def runtime(default: Any, description: str, **kw: Any) -> Any:
    """Declare a field that is not part of the deterministic config.

    Where the result goes, how progress is shown, how much memory may be used: settings that change the run
    but not what it computes. `deterministic` leaves them out.

    Args:
        default: The default value; ``...`` makes the field required.
        description: The help text.
        **kw: Further arguments of ``pydantic.Field``; a ``json_schema_extra`` mapping is kept.
    """
    extra = {**(kw.pop("json_schema_extra", None) or {}), "runtime": True}
    return Field(default, description=description, json_schema_extra=extra, **kw)


def planned(default: Any, description: str, extra: Mapping[str, Any], **rules: Any) -> Any:
    """Declare a field that may be left open: the run decides, and its artifact records what it decided.

    Args:
        default: None or 0 stand for "open".
        description: The help text.
        extra: Further ``json_schema_extra``.
        **rules: Further arguments of ``pydantic.Field``.
    """
    return Field(default, description=description, json_schema_extra={**extra, "planned": True}, **rules)


def left_open(config: BaseModel) -> set[str]:
    """Return the names of the fields declared with `planned` that are None or 0."""
    declared = {name for name, info in type(config).model_fields.items() if _extra(info).get("planned")}
    return {
        name for name in declared if (value := getattr(config, name)) is None or (value == 0 and value is not False)
    }


WRITTEN = {"written": True}
"""The ``json_schema_extra`` of a path that a command writes to, and need not find; ``out`` is always one."""


def aliases(*names: str) -> dict[str, Any]:
    """Return the ``json_schema_extra`` that gives a field further documented flags.

    Args:
        *names: Complete flags, for example ``"--actor-model"``.
    """
    return {"aliases": list(names)}


def deterministic(config: BaseModel) -> dict[str, Any]:
    """Return the settings that decide the result, as a JSON-able dict.

    Fields declared with `runtime` and paths are left out, in nested models too. Equal dicts (and equal
    inputs) mean that a finished result need not be computed again.
    """
    return split_config(config)[0]


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, Mapping) else {}


@dataclass(frozen=True, eq=False)
class Flag:
    """One setting as the command line shows it.

    Attributes:
        path: Field names from the config's root; longer than one for a nested model.
        names: The flags; the first is the canonical one. For a positional its upper-case name.
        kind: ``value``, ``switch`` (bool), ``list`` (repeated or comma separated) or ``table`` (recipe only).
        metavar: What stands for the value in the help.
        choices: The allowed values, or empty when any is.
        optional: Whether ``none`` may be given.
        text: Whether a plain value is kept as text, whatever it looks like.
        positional: Whether it is given without a flag.
        runtime: Whether it stays out of the deterministic config.
        reads: Whether it names files that have to be there.
        required: Whether it has no default.
        default: The default value.
        group: The heading in the help, or "".
        description: The help text.
    """

    path: tuple[str, ...]
    names: tuple[str, ...]
    kind: Literal["value", "switch", "list", "table"]
    metavar: str
    choices: tuple[Any, ...]
    optional: bool
    text: bool
    positional: bool
    runtime: bool
    reads: bool
    required: bool
    default: Any
    group: str
    description: str

    @property
    def key(self) -> str:
        """The setting's name in a recipe, dotted when nested."""
        return ".".join(self.path)

    def value(self, given: Any) -> Any:
        """Turn what a recipe, ``--set`` or a flag gave into what pydantic expects.

        Splits comma separated lists, makes a list of a single value, maps the text of a choice to the choice and
        ``none`` to None; everything else is left for pydantic to convert and check.
        """
        if isinstance(given, str):
            if self.optional and given.lower() == "none" and "none" not in self.choices:
                return None
            if self.kind == "list":
                given = [part.strip() for part in given.split(",") if part.strip()]
        if self.kind == "list" and given is not None:
            return [self._choice(one) for one in (given if isinstance(given, (list, tuple)) else [given])]
        return self._choice(given)

    def _choice(self, given: Any) -> Any:
        return next((one for one in self.choices if isinstance(given, str) and str(one) == given), given)


def flags_of(config: type[BaseModel]) -> list[Flag]:
    """Return the flags of a config class in the order of its fields, nested models flattened."""
    return list(_flags(config, (), "", None))


def _flags(config: type[BaseModel], prefix: tuple[str, ...], group: str, parent: BaseModel | None) -> Iterator[Flag]:
    """Yield a model's flags; ``parent`` is the default instance of a nested model, whose values are shown."""
    for name, info in config.model_fields.items():
        path = (*prefix, name)
        required = info.is_required() and parent is None
        default = getattr(parent, name) if parent is not None else _default(info)
        extra = _extra(info)
        heading = str(extra.get("group", group))
        annotation, optional = _unwrap(info.annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            title = heading or info.title or name.replace("_", " ").capitalize()
            yield from _flags(annotation, path, title, default if isinstance(default, BaseModel) else None)
            continue
        kind, element = _kind(annotation)
        choices = _choices(element)
        positional = bool(extra.get("positional"))
        canonical = name.upper() if positional else "--" + ".".join(path).replace("_", "-")
        also = () if positional else tuple(str(alias) for alias in extra.get("aliases", ()))
        yield Flag(
            path=path,
            names=(canonical, *also),
            kind=kind,
            metavar="|".join(map(str, choices)) if choices else _METAVARS.get(_unwrap(element)[0], "VALUE"),
            choices=choices,
            optional=optional,
            text=_is_text(element),
            positional=positional,
            runtime=bool(extra.get("runtime")),
            reads=_unwrap(element)[0] is Path and not extra.get("written") and path != ("out",),
            required=required,
            default=default,
            group=heading,
            description=info.description or "",
        )


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Return the annotation without ``Annotated`` and ``None``, and whether None was allowed."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _unwrap(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [one for one in typing.get_args(annotation) if one is not type(None)]
        if len(members) < len(typing.get_args(annotation)):
            if len(members) == 1:
                return _unwrap(members[0])[0], True
            return typing.Union[tuple(members)], True  # noqa: UP007 - built at run time
    return annotation, False


def _kind(annotation: Any) -> tuple[Literal["value", "switch", "list", "table"], Any]:
    """Return how an annotation is given, and the annotation of one value."""
    if annotation is bool:
        return "switch", bool
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, (Sequence, Set)) and not issubclass(origin, (str, bytes)):
        arguments = [one for one in typing.get_args(annotation) if one is not Ellipsis]
        element = arguments[0] if arguments else str
        simple = not (isinstance(element, type) and issubclass(element, BaseModel))
        return ("list" if simple else "table"), element
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table", annotation
    return "value", annotation


def _choices(annotation: Any) -> tuple[Any, ...]:
    annotation = _unwrap(annotation)[0]
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(member.value for member in annotation)
    return ()


def _is_text(annotation: Any) -> bool:
    annotation = _unwrap(annotation)[0]
    members = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Union else (annotation,)
    return all(member in (str, Path) for member in members)
