import copy

import pytest

from align_contracts.compatibility import changes
from align_contracts.schema import json_schema

OLD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind", "rows"],
    "properties": {
        "schema_version": {"properties": {"minor": {"const": 0}}},
        "kind": {"enum": ["a", "b"], "type": "string", "description": "old words"},
        "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
        "seed": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}], "default": None},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        "share": {"type": "number", "exclusiveMinimum": 0},
        "by_name": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "$defs": {
        "Row": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "string", "pattern": "^a"}, "next": {"$ref": "#/$defs/Row"}},
        }
    },
}


def changed(*path, value=None, drop=False):
    """A copy of OLD with the value at a path replaced, or dropped."""
    new = copy.deepcopy(OLD)
    node = new
    for step in path[:-1]:
        node = node[step]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return new


P = "properties"
ROW = ("$defs", "Row")
BREAKS = {
    "removed": (changed(P, "share", drop=True), ["share: removed"]),
    "removed below": (changed(*ROW, P, "next", drop=True), ["rows[].next: removed"]),
    "newly required": (changed("required", value=["kind", "rows", "seed"]), ["seed: now required"]),
    "newly required below": (changed(*ROW, "required", value=["id", "next"]), ["rows[].next: now required"]),
    "no longer required": (changed("required", value=["kind"]), ["rows: no longer required"]),
    "enum narrowed": (changed(P, "kind", "enum", value=["a"]), ["kind: no longer allows 'b'"]),
    "enum widened": (changed(P, "kind", "enum", value=["a", "b", "c"]), ["kind: newly allows 'c'"]),
    "enum is now a constant": (
        changed(P, "kind", value={"const": "a", "type": "string"}),
        ["kind: no longer allows 'b'"],
    ),
    "enum given up": (changed(P, "kind", value={"type": "string"}), ["kind: widened: no longer a list of values"]),
    "enum introduced": (
        changed(P, "share", value={"type": "number", "exclusiveMinimum": 0, "enum": [1]}),
        ["share: narrowed: now a list of values"],
    ),
    "type": (changed(P, "share", "type", value="integer"), ["share: type 'number' is now 'integer'"]),
    "lower bound raised": (
        changed(P, "seed", "anyOf", 0, "minimum", value=1),
        ["seed: narrowed: minimum 0 is now 1"],
    ),
    "upper bound lowered": (
        changed(P, "seed", "anyOf", 0, "maximum", value=8),
        ["seed: narrowed: maximum 9 is now 8"],
    ),
    "upper bound dropped": (
        changed(P, "seed", "anyOf", 0, "maximum", drop=True),
        ["seed: widened: maximum 9 is now None"],
    ),
    "bound introduced": (
        changed(P, "share", "maximum", value=1),
        ["share: narrowed: maximum None is now 1"],
    ),
    "bound widened": (
        changed(P, "share", "exclusiveMinimum", value=-1),
        ["share: widened: exclusiveMinimum 0 is now -1"],
    ),
    "null no longer allowed": (
        changed(P, "seed", "anyOf", value=[OLD[P]["seed"]["anyOf"][0]]),
        ["seed: no longer allows null"],
    ),
    "another alternative": (
        changed(P, "seed", "anyOf", value=[*OLD[P]["seed"]["anyOf"], {"type": "string"}]),
        ["seed: newly allows string"],
    ),
    "pattern": (changed(*ROW, P, "id", "pattern", value="^b"), ["rows[].id: pattern '^a' is now '^b'"]),
    "default": (changed(P, "seed", "default", value=1), ["seed: default None is now 1"]),
    "tuple": (changed(P, "pair", "prefixItems", value=[{"type": "integer"}]), ["pair: prefixItems changed"]),
    "tuple's item": (
        changed(P, "pair", "prefixItems", 1, "type", value="integer"),
        ["pair[]: type 'string' is now 'integer'"],
    ),
    "mapping's values": (
        changed(P, "by_name", "additionalProperties", "type", value="string"),
        ["by_name{}: type 'integer' is now 'string'"],
    ),
    "unknown fields allowed": (changed("additionalProperties", value=True), ["top: additionalProperties changed"]),
    "new and required": (
        {**changed(P, "extra", value={"type": "string"}), "required": ["kind", "rows", "extra"]},
        ["extra: added, required"],
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_needs_a_major_version(name):
    newer, expected = BREAKS[name]
    found = changes(OLD, newer)
    assert [str(change) for change in found] == expected
    assert all(change.breaks for change in found)


@pytest.mark.parametrize(
    ("newer", "field"),
    [
        (changed(P, "extra", value={"type": "string", "default": "x"}), "extra"),
        (changed(*ROW, P, "extra", value={"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]}), "rows[].extra"),
    ],
)
def test_a_minor_version_may_add_an_optional_field(newer, field):
    assert [(change.path, change.breaks) for change in changes(OLD, newer)] == [(field, False)]


def test_what_does_not_count():
    new = changed(P, "kind", value={"enum": ["b", "a"], "type": "string", "description": "new words", "title": "Kind"})
    new["$defs"] = {"Line": new["$defs"]["Row"], "Unused": {}}
    new[P]["rows"]["items"] = new["$defs"]["Line"][P]["next"] = {"$ref": "#/$defs/Line"}
    new[P]["schema_version"] = {"properties": {"minor": {"const": 1}}}
    assert changes(OLD, new) == []


def test_a_schema_agrees_with_itself_and_comparison_changes_nothing():
    for kind in ("policy", "report"):
        schema = json_schema(kind)
        before = copy.deepcopy(schema)
        assert changes(schema, schema) == []
        assert schema == before
