import json
from pathlib import Path

import pytest

from align_contracts import VerificationError
from align_contracts.manifest import MAJOR, MANIFESTS, MINOR
from align_contracts.schema import VERSION, compare_schemas, json_schema, schema_files, write_schemas

COMMITTED = Path(__file__).parents[1] / "schemas"


def test_the_committed_schemas_are_what_the_models_give():
    assert compare_schemas(COMMITTED) == [], "run: align-contracts schema --out contracts/schemas"


RELEASED = sorted(path for path in COMMITTED.glob(f"v{MAJOR}.*/*.json") if path.parent.name != VERSION)


def bare(value):
    """A schema without what only people read."""
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items() if name not in ("description", "title")}
    return [bare(one) for one in value] if isinstance(value, list) else value


def breaks(older, newer):
    """What a manifest valid under `older` may run into under `newer`: one line a change that is not an addition."""
    found = []
    for title, was in {"top": older, **older["$defs"]}.items():
        now = newer if title == "top" else newer["$defs"].get(title, {})
        found += [f"{title}: requires {one}" for one in set(now.get("required", ())) - set(was.get("required", ()))]
        for name, rule in was.get("properties", {}).items():
            if name != "schema_version" and bare(rule) != bare(now.get("properties", {}).get(name)):
                found.append(f"{title}.{name}: changed")
    return found


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_minor_version_only_adds_optional_fields(path):
    assert breaks(json.loads(path.read_text()), json_schema(path.stem)) == []


def test_other_changes_would_be_seen():
    older, newer = json_schema("policy"), json_schema("policy")
    newer["required"] = [*newer["required"], "poem"]
    del newer["$defs"]["Adapter"]["properties"]["alpha"]
    newer["$defs"]["PolicyDetails"]["properties"]["method"]["enum"] = ["sft"]
    assert sorted(breaks(older, newer)) == [
        "Adapter.alpha: changed",
        "PolicyDetails.method: changed",
        "top: requires poem",
    ]


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
