"""The page of the manifests is that of the schemas."""

from pathlib import Path

from align_contracts.manifest import MANIFESTS
from align_contracts.reference import reference
from align_contracts.schema import json_schema

PAGE = Path(__file__).parents[2] / "docs" / "artifacts.md"


def test_the_committed_page_is_what_the_schemas_give_now():
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_field_of_every_schema_has_a_row_with_its_meaning():
    page = reference()
    for kind in MANIFESTS:
        schema = json_schema(kind)
        for found in (schema, *schema["$defs"].values()):
            for name, field in found.get("properties", {}).items():
                assert field.get("description") or name == "schema_version", f"{kind}: {name}"
                assert f"| `{name}` | " in page


def test_links_lead_to_headings_of_the_page():
    lines = reference().splitlines()
    headings = {line.removeprefix("## ").lower() for line in lines if line.startswith("## ")}
    linked = {part.split(")")[0] for line in lines for part in line.split("](#")[1:]}
    assert linked
    assert linked <= headings
