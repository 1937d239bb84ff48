import hashlib
import json
from pathlib import Path

import pytest

from align_contracts import VerificationError
from align_contracts.compatibility import changes
from align_contracts.manifest import MAJOR, MANIFESTS, MINOR
from align_contracts.schema import VERSION, compare_schemas, json_schema, schema_files, write_schemas

COMMITTED = Path(__file__).parents[1] / "schemas"


def test_the_committed_schemas_are_what_the_models_give():
    assert compare_schemas(COMMITTED) == [], "run: align-contracts schema --out contracts/schemas"


RELEASED = sorted(path for path in COMMITTED.glob(f"v{MAJOR}.*/*.json") if path.parent.name != VERSION)


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_minor_version_only_adds_optional_fields(path):
    found = changes(json.loads(path.read_text()), json_schema(path.stem))
    assert [str(change) for change in found if change.breaks] == []


@pytest.mark.parametrize("kind", MANIFESTS)
@pytest.mark.parametrize("minor", range(1, MINOR + 1))
def test_fields_say_in_which_minor_version_they_came(kind, minor):
    """The committed schemas are the history; the models' own notes (`since`) must agree with it."""
    older, newer = (
        json.loads((COMMITTED / f"v{MAJOR}.{one}" / f"{kind}.json").read_text()) for one in (minor - 1, minor)
    )
    added = {change.path.replace("[]", "") for change in changes(older, newer)}
    assert added == {path for path, since in since_of(json_schema(kind)) if since == f"{MAJOR}.{minor}"}


def since_of(schema, node=None, path=""):
    """All (path, since) of a schema's fields, fields of added ones apart."""
    node = schema if node is None else node
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for name, inner in node.get("properties", {}).items():
        field = f"{path}.{name}" if path else name
        if "since" in inner:
            yield field, inner["since"]
        else:
            yield from since_of(schema, inner, field)
    for inner in (node["items"],) if "items" in node else node.get("anyOf", ()):
        yield from since_of(schema, inner, path)


def test_released_schemas_never_change():
    """`sha256sum --check RELEASED.sha256` says the same; a release adds its lines."""
    lines = (COMMITTED / "RELEASED.sha256").read_text().splitlines()
    listed = {name: sha256 for sha256, name in (line.split("  ") for line in lines)}
    found = {str(path.relative_to(COMMITTED)): hashlib.sha256(path.read_bytes()).hexdigest() for path in RELEASED}
    assert listed == found


def test_there_are_schemas_of_every_version():
    assert {path.parent.name for path in RELEASED} == {f"v{MAJOR}.{minor}" for minor in range(MINOR)}


def test_write_and_compare(tmp_path):
    assert len(compare_schemas(tmp_path)) == 7
    assert sorted(path.stem for path in write_schemas(tmp_path)) == sorted(MANIFESTS)
    assert compare_schemas(tmp_path) == []
    path = tmp_path / VERSION / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    (tmp_path / VERSION / "dataset.json").write_text("{}")
    (tmp_path / VERSION / "policy.json").unlink()
    (tmp_path / VERSION / "poem.json").write_text("{}")
    assert sorted(compare_schemas(tmp_path)) == [
        f"{VERSION}/dataset.json: holds another schema than the models give",
        f"{VERSION}/poem.json: no such kind",
        f"{VERSION}/policy.json: missing",
        f"{VERSION}/report.json: holds other bytes than the models give",
    ]


def test_every_property_of_every_schema_is_described():
    for name, content in schema_files().items():
        schema = json.loads(content)
        for title, model in {"top": schema, **schema["$defs"]}.items():
            for key, value in model.get("properties", {}).items():
                known = "description" in value or "$ref" in value or key == "schema_version"
                assert known, f"{name}: {title}.{key}"


def test_schemas_forbid_unknown_fields():
    schema = json_schema("policy")
    assert schema["additionalProperties"] is False
    models = [model for name, model in schema["$defs"].items() if name != "JsonValue"]
    assert all(model["additionalProperties"] is False for model in models)
    assert schema["properties"]["kind"]["const"] == "policy"


def test_unknown_kind():
    with pytest.raises(VerificationError, match="unknown artifact kind"):
        json_schema("poem")
