import sys

import pytest

from align_contracts import open_artifact
from align_rl.cli import main


@pytest.fixture
def align_rl(monkeypatch, capsys):
    """Run the command line; gives its exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["align-rl", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return call


def test_help_lists_both_methods(align_rl):
    code, out, _ = align_rl("--help")
    assert code == 0
    assert "ppo" in out
    assert "grpo" in out


@pytest.mark.parametrize(("method", "own"), [("ppo", "--gae-lambda"), ("grpo", "--normalizer-alpha")])
def test_help_of_a_method(align_rl, method, own):
    code, out, _ = align_rl(method, "--help")
    assert code == 0
    for flag in (own, "--sft", "--actor-model", "--num-iterations", "--target-kl"):
        assert flag in out


def test_a_wrong_flag_gets_a_suggestion(align_rl):
    code, _, err = align_rl("ppo", "--learning-rte", "1")
    assert code == 2
    assert "--learning-rate" in err


def test_a_missing_artifact_is_one_line_and_exit_code_2(align_rl, tmp_path):
    code, _, err = align_rl(
        "grpo", "--sft", tmp_path / "a", "--rm", tmp_path / "b", "--data", tmp_path / "c", "--out", tmp_path / "d"
    )
    assert code == 2
    assert "no such artifact" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_the_seeds_own_flags_train_a_policy(align_rl, store, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGN_STORE", str(store))
    inputs = ("--actor-model", store / "sft", "--rm-model", store / "rm", "--prompts", store / "data")
    small = "--num-iterations 1 --batch-size 2 --minibatches 2 --eval-prompts 7"
    small += " --max-seq-length 32 --max-prompt-length 16 --max-response-length 4"
    seeds_flags = "--seed 42 --K 2 --clip-range 0.2 --kl-schedule phased"
    code, _, err = align_rl("grpo", *inputs, *seeds_flags.split(), *small.split(), "--output", tmp_path / "grpo")
    assert (code or 0) == 0, err
    assert open_artifact(tmp_path / "grpo").manifest.config["K"] == 2


def test_help_begins_with_what_is_required_and_ends_with_how_it_is_computed(align_rl):
    _, text, _ = align_rl("ppo", "--help")
    assert text.index("artifacts:") < text.index("sampling:") < text.index("compute:") < text.index("Running:")
