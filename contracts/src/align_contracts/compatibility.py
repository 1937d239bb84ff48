"""What changed between two JSON Schemas, and whether a minor version may change it.

A minor version may add optional fields and nothing else: a reader of the older minor then still understands
everything it knows, and a reader of the newer one still accepts every older manifest. So both directions break:
what narrows (a field removed or newly required, a value, type or range no longer allowed) refuses older manifests,
and what widens (a new value of an enumeration, a wider range, a field no longer required) is refused by older readers.

Pure functions over parsed schemas, for the part of JSON Schema that pydantic writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_NOTES = frozenset({"$id", "$schema", "$defs", "$comment", "description", "title", "examples", "since"})
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_WALKED = frozenset(
    {"properties", "required", "anyOf", "items", "prefixItems", "additionalProperties", "enum", "const"}
)


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        path: the field, dotted; `[]` for the items of a list, `{}` for the values of a mapping.
        what: what happened to it.
        breaks: whether it needs a new major version.
    """

    path: str
    what: str
    breaks: bool = True

    def __str__(self) -> str:
        """Return `path: what`."""
        return f"{self.path or 'top'}: {self.what}"


def changes(older: Schema, newer: Schema, ignore: Sequence[str] = ("schema_version",)) -> list[Change]:
    """Compare two schemas of one kind; names of definitions, order and descriptions do not matter.

    Args:
        older: the released schema.
        newer: the one that is to follow it.
        ignore: top-level fields that differ by design.

    Returns:
        All differences, sorted; those with `breaks` need a new major version.
    """
    found = set(_Walk(older, newer).compare(older, newer, ""))
    return sorted((c for c in found if c.path.split(".")[0] not in ignore), key=lambda c: (c.path, c.what))


class _Walk:
    """Two schemas gone through together; each pair of definitions once, so that recursive ones end."""

    def __init__(self, older: Schema, newer: Schema) -> None:
        self.roots = (older, newer)
        self.open: set[tuple[str, str]] = set()

    def compare(self, older: Schema, newer: Schema, path: str) -> Iterator[Change]:
        pair = (str(older.get("$ref")), str(newer.get("$ref")))
        if pair in self.open:
            return
        if "$ref" in older and "$ref" in newer:
            self.open.add(pair)
        old, new = (_resolved(node, root) for node, root in zip((older, newer), self.roots, strict=True))
        yield from _keywords(old, new, path)
        yield from _values(old, new, path)
        yield from self._properties(old, new, path)
        yield from self._alternatives(old, new, path)
        for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
            was, now = old.get(key, True), new.get(key, True)
            if isinstance(was, dict) and isinstance(now, dict):
                yield from self.compare(was, now, path + mark)
            elif was != now:
                yield Change(path, f"{key} changed")
        was, now = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(was) != len(now):
            yield Change(path, "prefixItems changed")
        for one, two in zip(was, now, strict=False):
            yield from self.compare(one, two, path + "[]")
        self.open.discard(pair)

    def _properties(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        was, now = old.get("properties", {}), new.get("properties", {})
        must, still = set(old.get("required", ())), set(new.get("required", ()))
        for name in {*was, *now}:
            field = f"{path}.{name}" if path else name
            if name not in now:
                yield Change(field, "removed")
            elif name not in was:
                added = name not in still
                yield Change(field, "added, optional" if added else "added, required", breaks=not added)
            else:
                if (name in must) != (name in still):
                    yield Change(field, "now required" if name in still else "no longer required")
                yield from self.compare(was[name], now[name], field)

    def _alternatives(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        left = list(new.get("anyOf", ()))
        lost = []
        for one in old.get("anyOf", ()):
            same = next((two for two in left if not list(self.compare(one, two, path))), None)
            if same is None:
                lost.append(one)
            else:
                left.remove(same)
        if len(lost) == len(left) == 1:  # one changed: say how
            yield from self.compare(lost[0], left[0], path)
            return
        yield from (Change(path, f"no longer allows {_name(one)}") for one in lost)
        yield from (Change(path, f"newly allows {_name(two)}") for two in left)


def _resolved(node: Schema, root: Schema) -> dict[str, Any]:
    """Follow references within the schema; what stands beside a reference counts too."""
    found = dict(node)
    while "$ref" in found:
        name = found.pop("$ref").rpartition("/")[2]
        found = {**root["$defs"][name], **found}
    return found


def _keywords(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for key in sorted({*old, *new} - _NOTES - _WALKED):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        if key in _LOWER | _UPPER:
            tighter = was is None or (now is not None and (now > was if key in _LOWER else now < was))
            yield Change(path, f"{'narrowed' if tighter else 'widened'}: {key} {was} is now {now}")
        else:
            yield Change(path, f"{key} {was!r} is now {now!r}")


def _values(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    was, now = (schema.get("enum", [schema["const"]] if "const" in schema else None) for schema in (old, new))
    if was is None or now is None:
        if was is not now:
            yield Change(
                path, "narrowed: now a list of values" if was is None else "widened: no longer a list of values"
            )
        return
    yield from (Change(path, f"no longer allows {value!r}") for value in was if value not in now)
    yield from (Change(path, f"newly allows {value!r}") for value in now if value not in was)


def _name(schema: Schema) -> str:
    return str(schema.get("$ref", schema.get("type", "something"))).rpartition("/")[2]
