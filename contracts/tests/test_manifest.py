import hashlib
import json
from pathlib import Path

import pytest

from align_contracts import SchemaVersionError, VerificationError, manifest
from align_contracts.canonical import manifest_bytes
from align_contracts.manifest import MAJOR, MANIFESTS, MINOR, content_digest, details_model, read_manifest

GOLDEN = Path(__file__).parent / "golden"
VALID = sorted((GOLDEN / "valid").rglob("*.json"))
REASONS = json.loads((GOLDEN / "invalid" / "reasons.json").read_bytes())


def raw_of(kind):
    return json.loads((GOLDEN / "valid" / "v1.0" / f"{kind}.json").read_bytes())


def test_there_is_a_golden_manifest_of_every_kind_in_every_version():
    versions = {f"v{MAJOR}.{minor}" for minor in range(MINOR + 1)}
    assert {(path.parent.name, path.stem) for path in VALID} == {(v, kind) for v in versions for kind in MANIFESTS}
    assert {case.partition("-")[0] for case in REASONS} == set(MANIFESTS)


@pytest.mark.parametrize("path", VALID, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_valid(path):
    found, raw = read_manifest(path.read_bytes())
    assert found.kind == path.stem
    assert type(found.details) is details_model(path.stem)
    assert manifest_bytes(raw) == path.read_bytes()


@pytest.mark.parametrize("case", REASONS)
def test_golden_invalid(case):
    data = (GOLDEN / "invalid" / f"{case}.json").read_bytes()
    with pytest.raises(VerificationError) as caught:
        read_manifest(data, "golden/manifest.json")
    message = str(caught.value)
    assert REASONS[case] in message
    assert message.startswith("golden/manifest.json: ")
    assert "\n" not in message


def test_every_invalid_file_has_a_reason():
    assert {path.stem for path in (GOLDEN / "invalid").glob("*.json")} - {"reasons"} == set(REASONS)


@pytest.mark.parametrize("path", VALID, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_content_digest_by_its_definition(path):
    """The contract's list of what counts, written out again; json's own sorted compact form is the oracle."""
    raw = json.loads(path.read_bytes())
    counts = {
        "kind": raw["kind"],
        "schema_major": 1,
        "files": [
            {"path": f["path"], "role": f["role"], "size": f["size"], "sha256": f["sha256"]}
            for f in raw["files"]
            if not f["volatile"]
        ],
        "config": raw["config"],
        "details": raw["details"],
        "tokenizer_digest": raw["tokenizer_digest"],
        "chat_template_digest": raw["chat_template_digest"],
        "quantization": raw["quantization"],
        "seeds": raw["seeds"],
        "inputs": [
            {"role": i["role"], "kind": i["kind"], "content_digest": i["content_digest"]} for i in raw["inputs"]
        ],
    }
    text = json.dumps(counts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert raw["content_digest"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda raw: raw.update(created_at="2030-01-01T00:00:00Z"), False),
        (lambda raw: raw["environment"].update(chip="other"), False),
        (lambda raw: raw["producer"].update(version="9"), False),
        (lambda raw: raw["runtime_config"].update(out="x"), False),
        (lambda raw: raw["metrics"][0].update(value=9.0), False),
        (lambda raw: raw["extensions"].update(x=1), False),
        (lambda raw: raw["inputs"][0].update(name="other", manifest_digest="f" * 64), False),
        (lambda raw: raw["config"].update(seed=1), True),
        (lambda raw: raw["details"].update(seed=1), True),
        (lambda raw: raw["seeds"].append(1), True),
        (lambda raw: raw.update(tokenizer_digest="b" * 64), True),
        (lambda raw: raw.update(chat_template_digest="b" * 64), True),
        (lambda raw: raw.update(quantization={"bits": 8, "group_size": 64}), True),
        (lambda raw: raw["inputs"][0].update(content_digest="b" * 64), True),
        (lambda raw: raw["inputs"][0].update(role="other"), True),
        (lambda raw: raw["files"][0].update(sha256="b" * 64), True),
        (lambda raw: raw["files"][0].update(path="other"), True),
    ],
)
def test_what_counts_for_the_content(change, counts):
    raw = raw_of("policy")
    before = content_digest(raw)
    change(raw)
    assert (content_digest(raw) != before) is counts


def test_volatile_files_do_not_count():
    raw = raw_of("dataset")
    before = content_digest(raw)
    volatile = [file for file in raw["files"] if file["volatile"]]
    assert volatile
    volatile[0]["sha256"] = "b" * 64
    assert content_digest(raw) == before


def test_a_newer_minor_is_read_and_its_unknown_fields_kept():
    raw = raw_of("policy")
    raw["schema_version"]["minor"] = 7
    raw["future"] = {"a": 1}
    raw["details"]["future"] = 2
    raw["files"][0]["future"] = 3
    raw["content_digest"] = content_digest(raw)
    found, kept = read_manifest(manifest_bytes(raw))
    assert found.details.method == "ppo"
    assert kept == raw
    assert kept["details"]["future"] == 2
    raw["details"]["method"] = 5
    with pytest.raises(VerificationError, match=r"details\.method"):  # known fields stay strict
        read_manifest(manifest_bytes(raw))


@pytest.mark.parametrize("kind", ["policy", "reward_model"])
def test_a_manifest_from_before_certificates_has_none(kind):
    older, _ = read_manifest((GOLDEN / "valid" / "v1.0" / f"{kind}.json").read_bytes())
    newer, _ = read_manifest((GOLDEN / "valid" / "v1.1" / f"{kind}.json").read_bytes())
    assert older.details.certificate is None
    assert newer.details.certificate.tensors == newer.details.certificate.alive + len(newer.details.certificate.waiting)


def test_licences_came_with_1_3():
    older, _ = read_manifest((GOLDEN / "valid" / "v1.2" / "policy.json").read_bytes())
    newer, _ = read_manifest((GOLDEN / "valid" / "v1.3" / "policy.json").read_bytes())
    assert {one.role: one.license for one in older.inputs} == dict.fromkeys(
        ("base", "dataset", "policy", "reward_model")
    )
    assert [one.license for one in newer.inputs] == ["gemma", "MIT", None, None]


def test_judgments_from_before_imports_were_judged_here():
    older, _ = read_manifest((GOLDEN / "valid" / "v1.0" / "judgments.json").read_bytes())
    newer, _ = read_manifest((GOLDEN / "valid" / "v1.2" / "judgments.json").read_bytes())
    assert (older.details.source, older.details.graded, older.details.reply_form) == ("judged", False, None)
    assert (newer.details.source, newer.details.graded, newer.details.candidate) == ("alpaca-eval", True, "claude-2.1")


def test_other_majors_say_what_to_do():
    raw = raw_of("policy")
    for major, advice in ((2, "Update align-contracts"), (0, "No migration")):
        raw["schema_version"]["major"] = major
        with pytest.raises(SchemaVersionError, match=f"expected major 1. {advice}"):
            read_manifest(manifest_bytes(raw))


def test_size_limit(monkeypatch):
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 10)
    with pytest.raises(VerificationError, match="too large: expected at most 10 bytes"):
        read_manifest(b" " * 11)


def test_messages_carry_no_control_characters():
    raw = raw_of("report")
    raw["\x1b[31m"] = "\x1b]0;x\x07"
    with pytest.raises(VerificationError) as caught:
        read_manifest(manifest_bytes(raw))
    assert str(caught.value).isprintable()


def test_unknown_kind_has_no_details():
    with pytest.raises(VerificationError, match="unknown artifact kind"):
        details_model("poem")
