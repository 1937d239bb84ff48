import os

import pytest

from align_contracts import KindError, MissingError, VerificationError, artifact, open_artifact, publish
from align_contracts.artifact import resolve_input


def test_attributes(finished_run):
    art = open_artifact(str(finished_run / "ppo-42"))
    assert (art.name, art.kind, art.path) == ("ppo-42", "policy", (finished_run / "ppo-42").resolve())
    assert art.manifest.content_digest == art.content_digest == art.raw["content_digest"]
    assert len(repr(art)) < 400
    assert {art: 1}[art] == 1


def test_the_kind_is_checked(finished_run):
    path = finished_run / "ppo-42"
    open_artifact(path, "policy")
    open_artifact(path, ("base_model", "policy"))
    with pytest.raises(KindError, match="ppo-42: expected a base_model or a reward_model, got a policy"):
        open_artifact(path, ("base_model", "reward_model"))


def test_files_by_role(finished_run):
    art = open_artifact(finished_run / "data")
    assert art.file("card") == art.path / "notes" / "card.md"
    assert [path.name for path in art.files()] == ["card.md", "rows.jsonl", "time.jsonl"]
    assert [path.name for path in art.files("ro")] == ["rows.jsonl"]
    assert art.files("eval") == []
    with pytest.raises(VerificationError, match="data: no file of role 'absent': expected one of card, rows, time"):
        art.file("absent")


def test_reading_checks_the_bytes(run):
    art = open_artifact(run / "sft")
    assert art.read_json("config") == {"model_type": "gemma"}
    path = art.file("config")
    path.write_text(path.read_text().replace("gemma", "gemmb"))  # same size: quick verification cannot see it
    with pytest.raises(VerificationError, match=r"sft/config.json: sha256"):
        open_artifact(run / "sft").read_json("config")
    data = open_artifact(run / "data")
    assert data.read_jsonl("rows") == [{"prompt_id": "a"}, {"prompt_id": "b"}]
    with pytest.raises(VerificationError, match=r"data/notes/card.md line 1: not valid JSON"):
        data.read_jsonl("card")


def test_metrics(finished_run):
    art = open_artifact(finished_run / "sft")
    assert art.metric("perplexity") == 4.0  # the one without a step
    assert art.metric("perplexity", step=50) == 3.0
    assert [metric.step for metric in art.metrics()] == [None, 50]
    with pytest.raises(VerificationError, match="no metric 'kl': expected one of perplexity"):
        art.metric("kl")
    with pytest.raises(VerificationError, match="no metric 'perplexity' at step 7"):
        art.metric("perplexity", step=7)


def test_without_a_stepless_record_the_last_step_counts(tmp_path, finished_run, details):
    from align_contracts import publish

    with publish(tmp_path / "x", "report", producer="a", config={}) as draft:
        draft.details = details["report"]
        for step, value in ((50, 1.0), (150, 2.0), (100, 3.0)):
            draft.metric("kl", value, step=step)
    assert open_artifact(tmp_path / "x").metric("kl") == 2.0


def test_inputs_beside(finished_run):
    art = open_artifact(finished_run / "ppo-42")
    assert art.input("policy").path == (finished_run / "sft").resolve()
    assert [item.name for item in art.inputs()] == ["base", "data", "sft", "rm"]
    assert [item.name for item in art.inputs("dataset")] == ["data"]
    assert art.inputs("absent") == []
    with pytest.raises(VerificationError, match="0 inputs of role 'absent'"):
        art.input("absent")


def test_an_input_is_found_by_its_content_under_another_name(run, make):
    art = open_artifact(run / "sft")
    content = art.input("dataset").content_digest
    (run / "data").rename(run / "renamed")
    assert art.input("dataset").name == "renamed"
    make(run / "data", "dataset", split_seed=7)  # the name is back, with other content
    assert art.input("dataset").content_digest == content
    (run / "renamed" / "rows.jsonl").unlink()
    with pytest.raises(VerificationError, match=r"renamed/rows\.jsonl: missing"):
        art.input("dataset")


def test_an_input_is_found_in_the_store(run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (run / "data").rename(tmp_path / "elsewhere" / "d")
    art = open_artifact(run / "sft")
    with pytest.raises(VerificationError, match="ALIGN_STORE"):
        art.input("dataset")
    monkeypatch.setenv("ALIGN_STORE", os.pathsep.join(["/nonexistent", str(tmp_path / "elsewhere")]))
    assert art.input("dataset").name == "d"


def test_other_content_under_the_name_is_told(run, make):
    make(run / "data", "dataset", overwrite=True, split_seed=7)
    with pytest.raises(VerificationError, match=r"input 'dataset' .* got other content in .*/data"):
        open_artifact(run / "sft").input("dataset")


def test_an_input_whose_name_no_file_system_can_have_is_just_absent(run):
    """255 letters pass the manifest's schema, but these are 510 bytes."""
    art = open_artifact(run / "sft")
    record = art.manifest.inputs[0].model_copy(update={"name": "é" * 255, "content_digest": "0" * 64})
    with pytest.raises(VerificationError, match="is not there"):
        resolve_input(art, record)


def test_a_neighbour_that_cannot_be_read_is_passed_over(run):
    for name, text in (("broken", b"{"), ("list", b"[]"), ("huge", b" " * (4 * 2**20 + 1))):
        (run / name).mkdir()
        (run / name / "manifest.json").write_bytes(text)
    (run / "data").rename(run / "zz")
    assert open_artifact(run / "sft").input("dataset").name == "zz"


def test_a_rerun_with_equal_content_is_as_good(run, make):
    old = open_artifact(run / "data")
    make(run / "data", "dataset", overwrite=True)
    found = open_artifact(run / "sft").input("dataset")
    assert found.content_digest == old.content_digest


def test_a_last_line_may_lack_its_break(tmp_path):
    with publish(tmp_path / "x", "report", producer="a", config={}) as draft:
        draft.details = {"runs": 0, "methods": {}}
        draft.write_text("r.jsonl", '{"a": 1}\n{"a": 2}', role="rows")
    assert open_artifact(tmp_path / "x").read_jsonl("rows") == [{"a": 1}, {"a": 2}]


def test_a_claim_that_is_not_proven_is_passed_over(tmp_path, make, monkeypatch):
    """A neighbour that claims the wanted content when it is asked, and has another when it is opened."""
    data = make(tmp_path / "far" / "data", "dataset")
    sft = make(tmp_path / "near" / "sft", "policy", {"dataset": data})
    make(tmp_path / "near" / "data", "dataset", split_seed=7)
    monkeypatch.setattr(artifact, "claimed", lambda path, key: data.content_digest if path.name == "data" else None)
    with pytest.raises(VerificationError, match=r"input 'dataset' .* is not there"):
        sft.input("dataset")


@pytest.mark.parametrize("name", ["..", "."])
def test_a_name_never_leads_out_of_the_place(run, name):
    art = open_artifact(run / "sft")
    record = next(one for one in art.manifest.inputs if one.role == "dataset")
    assert resolve_input(art, record.model_copy(update={"name": name})).name == "data"  # found by its content


def test_links_that_lead_in_a_circle(run):
    (run / "loop").symlink_to(run / "loop")
    with pytest.raises(MissingError, match="loop: "):
        open_artifact(run / "loop")
    assert open_artifact(run / "sft").input("dataset").name == "data"  # and a circle beside it does no harm


def test_an_artifact_reached_through_a_link_has_its_own_name(run, tmp_path):
    (tmp_path / "latest").symlink_to(run / "sft")
    art = open_artifact(tmp_path / "latest")
    assert art.name == "sft"
    assert art.input("base").name == "base"
