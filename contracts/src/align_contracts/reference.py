"""The manifests' JSON Schemas as a page for people: every kind, every field, its type and its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from align_contracts.details import INPUT_KINDS
from align_contracts.manifest import MANIFESTS
from align_contracts.schema import VERSION, json_schema

Schema = Mapping[str, Any]

COMMON = {
    "kind": ", ".join(f"`{kind}`" for kind in MANIFESTS),
    "schema_version": f"[SchemaVersion](#schemaversion), here {VERSION.removeprefix('v')}",
}
"""Types of the fields that each kind's schema narrows to its own value."""
DIGESTS = {
    "content_digest": "Identity of the content: equal for equal reruns.",
    "config_digest": "sha256 of `config`'s canonical bytes.",
    "schema_version": "Version the writer used.",
}
"""Meanings that the schema has no room for: there the type speaks."""

OPENING = f"""# Artifacts, field by field

Generated from the JSON Schemas of version {VERSION.removeprefix("v")} (`contracts/schemas/{VERSION}`) by

```console
$ uv run align-contracts schema --reference docs/artifacts.md
```

An artifact is a directory with a `manifest.json`, the files that it lists, and `manifest.sha256`. What the files of a
pipeline are called and how digests are made: [artifacts/README.md](../artifacts/README.md). A field marked *since* is
missing from manifests of older versions and then has its default.
"""


def reference() -> str:
    """Return the page, ready to be written."""
    return "\n".join([OPENING, *_page()]).rstrip() + "\n"


def _page() -> Iterator[str]:
    schemas = {kind: json_schema(kind) for kind in MANIFESTS}
    shared = next(iter(schemas.values()))
    every = {name: {**field, "type_text": COMMON.get(name)} for name, field in shared["properties"].items()}
    every = {
        name: {**field, "description": DIGESTS.get(name, field.get("description"))} for name, field in every.items()
    }
    text = "Fields of every kind; `details` is the section of the kind."
    yield from _table("Every manifest", text, {**shared, "properties": every})
    for kind, schema in schemas.items():
        details = schema["$defs"][schema["properties"]["details"]["$ref"].rsplit("/", 1)[1]]
        yield from _table(f"`{kind}`", f"{details['description']} Fields of `details`.", details)
    yield "## Inputs\n\nAn input of one of these roles has one of these kinds; other roles are free.\n"
    yield "| role | kind |\n| --- | --- |"
    yield from (f"| `{role}` | {', '.join(f'`{kind}`' for kind in kinds)} |" for role, kinds in INPUT_KINDS.items())
    yield ""
    named: dict[str, Schema] = {}
    for schema in schemas.values():
        named |= {name: found for name, found in schema["$defs"].items() if not name.endswith("Details")}
    for name, found in sorted(named.items()):
        if "properties" in found:
            yield from _table(name, found["description"], found)


def _table(title: str, text: str, schema: Schema) -> Iterator[str]:
    yield f"## {title}\n\n{text}\n"
    yield "| field | type | meaning |\n| --- | --- | --- |"
    for name, field in schema["properties"].items():
        since = f" *Since {field['since']}.*" if "since" in field else ""
        meaning = " ".join(field.get("description", "").split())
        default = "" if name in schema.get("required", ()) else f" Default: `{_json(field.get('default'))}`."
        yield f"| `{name}` | {_type(field)} | {meaning}{default}{since} |".replace("||", "\\|\\|")
    yield ""


def _type(field: Schema) -> str:
    """Say a field's type in a few words."""
    kind = field.get("type", "JSON")
    if field.get("type_text"):
        text = field["type_text"]
    elif "$ref" in field:
        text = _named(field["$ref"].rsplit("/", 1)[1])
    elif "anyOf" in field:
        text = " or ".join(_type(one) for one in field["anyOf"])
    elif "const" in field or "enum" in field:
        text = ", ".join(f"`{_json(value)}`" for value in field.get("enum", [field.get("const")]))
    elif kind == "array":
        text = f"list of {_type(field.get('items', {}))}"
    elif kind == "object" and isinstance(values := field.get("additionalProperties"), Mapping):
        text = f"object of {_type(values)}"
    else:
        text = f"{kind}{_bounds(field)}"
    return str(text)


def _named(name: str) -> str:
    """Give a link to a record's own table."""
    if name.endswith("Details"):
        return "as the kind has it"
    return "JSON" if name == "JsonValue" else f"[{name}](#{name.lower()})"


def _bounds(field: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {field[bound]:g}" for bound, sign in signs.items() if bound in field)


def _json(value: object) -> str:
    """Write a value as a manifest has it, a text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)
