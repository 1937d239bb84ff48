"""Major 1 is the first, so the mechanism is shown on a major 0 that never was.

In it the machine was called `machine`, a report counted `run_count` runs and kept their `seeds`, and the content's
identity was made from paths, hashes and settings alone.
"""

import copy
import json
from pathlib import Path

import pytest

from align_contracts import SchemaVersionError, VerificationError, manifest
from align_contracts.canonical import digest, manifest_bytes
from align_contracts.manifest import read_manifest
from align_contracts.migrations import MIGRATIONS, Migration, migrate

GOLDEN = Path(__file__).parent / "golden" / "migrations"
OLD, NEW = ((GOLDEN / f"major-{major}-report.json").read_bytes() for major in (0, 1))


def up(raw):
    raw["environment"] = raw.pop("machine")
    raw["details"] = {"runs": raw["details"]["run_count"], "methods": raw["details"]["seeds"]}
    return raw


def identity(raw):
    return digest({"files": [[file["path"], file["sha256"]] for file in raw["files"]], "config": raw["config"]})


@pytest.fixture
def with_major_0(monkeypatch):
    monkeypatch.setattr(manifest, "MIGRATIONS", {0: Migration(up, identity)})


def test_there_is_a_step_out_of_every_older_major():
    assert set(MIGRATIONS) == set(range(1, manifest.MAJOR))


def test_a_step_is_a_pure_function():
    old = json.loads(OLD)
    before = copy.deepcopy(old)
    assert migrate(old, 1, {0: Migration(up, identity)}) == json.loads(NEW)
    assert old == before


def test_several_steps_follow_each_other():
    steps = {0: Migration(up, identity), 1: Migration(lambda raw: {**raw, "poem": "x"}, identity)}
    found = migrate(json.loads(OLD), 2, steps)
    assert found == {**json.loads(NEW), "poem": "x", "schema_version": {"major": 2, "minor": 0}}


def test_the_current_major_stays_as_it_is():
    assert migrate(json.loads(NEW), 1) == json.loads(NEW)


@pytest.mark.usefixtures("with_major_0")
def test_an_older_major_is_read_under_its_own_identity():
    found, raw = read_manifest(OLD)
    assert raw == json.loads(NEW)
    assert found.details.runs == json.loads(OLD)["details"]["run_count"]
    assert found.content_digest == json.loads(OLD)["content_digest"]  # the name by which lineage knows it


@pytest.mark.usefixtures("with_major_0")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["files"][0].update(sha256="0" * 64), "content_digest: expected"),
        (lambda raw: raw.update(config={"seed": 9}), "config_digest: expected"),
        (lambda raw: raw.update(files=7), "it is no manifest of schema major 0"),
        (lambda raw: raw.pop("machine"), "it is no manifest of schema major 0: got KeyError"),
        (lambda raw: raw["details"].update(run_count="two"), "details.runs"),
    ],
)
def test_a_damaged_manifest_of_an_older_major_is_refused(change, message):
    raw = json.loads(OLD)
    change(raw)
    with pytest.raises(VerificationError, match=message):
        read_manifest(manifest_bytes(raw))


def test_without_a_step_it_is_refused():
    with pytest.raises(SchemaVersionError, match=r"schema version 0\.4 cannot be read: .*No migration"):
        read_manifest(OLD)
    with pytest.raises(SchemaVersionError, match="no migration from schema major 0: expected major 1"):
        migrate(json.loads(OLD), 1)
