import json

import pytest

from align_contracts import KindError, PreflightError, VerificationError, open_artifact, publish

DATASET = {
    "source": "embedded",
    "split_seed": 42,
    "counts": {"rows": 2},
    "categories": {"test": {"factual": 1}},
    "formats": ["chosen"],
    "has_checks": False,
}


def test_publish_and_open_round_trip(tmp_path):
    rows = [{"prompt_id": "a", "n": 1.5}, {"prompt_id": "b", "n": None}]
    with publish(tmp_path / "data", "dataset", producer="align-data", config={"seed": 42}) as draft:
        draft.write_jsonl("rows.jsonl", rows, role="rows")
        draft.write_json("card.json", {"rows": 2}, role="card")
        draft.metric("rows", 2)
        draft.seeds = [42]
        draft.details = DATASET
    art = open_artifact(tmp_path / "data", "dataset")
    assert art.read_jsonl("rows") == rows
    assert art.read_json("card") == {"rows": 2}
    assert art.metric("rows") == 2.0
    assert art.details.split_seed == 42
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [
        "card.json",
        "manifest.json",
        "manifest.sha256",
        "rows.jsonl",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]  # no lock, no temporary directory
    assert json.loads((tmp_path / "data/manifest.json").read_bytes())["content_digest"] == art.content_digest
    with pytest.raises(KindError):
        open_artifact(tmp_path / "data", "policy")
    with pytest.raises(PreflightError), publish(tmp_path / "data", "dataset", producer="x", config={}):
        pass


def test_input_is_found_beside_and_must_have_the_same_content(tmp_path):
    def data(name, split_seed, **kwargs):
        with publish(tmp_path / name, "dataset", producer="align-data", config={}, **kwargs) as draft:
            draft.details = {**DATASET, "split_seed": split_seed}
        return open_artifact(tmp_path / name)

    first = data("data", 1)
    with publish(tmp_path / "report", "report", producer="x", config={}, inputs={"dataset": first}) as draft:
        draft.details = {"runs": 0, "methods": {}}
    report = open_artifact(tmp_path / "report")
    assert report.input("dataset").content_digest == first.content_digest
    (tmp_path / "data").rename(tmp_path / "moved")
    assert report.input("dataset").name == "moved"
    data("data", 2)
    assert report.input("dataset").name == "moved"
    data("moved", 3, overwrite=True)
    with pytest.raises(VerificationError, match="is not there"):
        report.input("dataset")
