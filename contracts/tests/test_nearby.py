import pytest

from align_contracts import MissingError, open_artifact
from align_contracts.lineage import find_artifacts
from align_contracts.nearby import nearby


def test_a_slip_is_suggested(tmp_path):
    (tmp_path / "ppo-42").mkdir()
    assert nearby(tmp_path / "ppo-43") == f"Did you mean {tmp_path}/ppo-42?"


def test_else_what_is_there_is_listed_but_what_is_hidden(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    assert nearby(tmp_path / "something") == f"In {tmp_path} there is a, b"
    for name in "cdefg":
        (tmp_path / name).mkdir()
    assert nearby(tmp_path / "something") == f"In {tmp_path} there is a, b, c, d, e, f, …"


def test_where_the_directory_is_missing_the_nearest_that_is_there_is_named(tmp_path):
    (tmp_path / "runs").mkdir()
    assert nearby(tmp_path / "run" / "x" / "y") == (
        f"There is no directory {tmp_path}/run/x. In {tmp_path} there is runs"
    )


@pytest.mark.parametrize("name", ["x", "x" * 300, "nul\0"])
def test_where_nothing_helps_nothing_is_said(tmp_path, name):
    assert nearby(tmp_path / name) is None


def test_a_hostile_name_is_made_printable(tmp_path):
    (tmp_path / "a\x1b[2J").mkdir()
    assert "\x1b" not in (nearby(tmp_path / "zzzzzz") or "\x1b")


def test_a_run_that_is_not_finished_is_no_artifact_to_be_offered(tmp_path):
    (tmp_path / ".ppo-1.run").mkdir()
    said = f"The run of {tmp_path}/ppo-1 is not finished: its command, given again, continues it"
    assert nearby(tmp_path / "ppo-1") == said
    assert nearby(tmp_path / "ppo-12") is None
    for look in (open_artifact, find_artifacts):
        for name, what in (("ppo-1", "no such"), (".ppo-1.run", "no artifact")):
            with pytest.raises(MissingError, match=what) as refusal:
                look(tmp_path / name)
            assert refusal.value.do == said


def test_of_a_directory_of_artifacts_those_of_the_wanted_kind_are_named(tmp_path):
    for name, kind in (("judgments-a", "judgments"), ("sft", "policy"), ("rm", "reward_model")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(f'{{"kind": "{kind}"}}')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    for kinds, names in (
        ("judgments", "judgments-a"),
        (("policy", "reward_model"), "rm, sft"),
        (None, "damaged, judgments-a, rm, sft"),
        ("dataset", "damaged, judgments-a, rm, sft"),  # none: what there is
    ):
        with pytest.raises(MissingError) as refusal:
            open_artifact(tmp_path, kinds)
        assert str(refusal.value) == f"{tmp_path} is no artifact, it holds some: {names}. Name one of them"


def test_a_file_of_an_artifact_is_a_wrong_path_and_no_damage(tmp_path):
    for name in ("manifest.json", "adapter.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(MissingError, match="an artifact is a directory") as refusal:
        open_artifact(tmp_path / "adapter.safetensors")
    assert (refusal.value.exit_code, refusal.value.do) == (2, f"Give {tmp_path}")
