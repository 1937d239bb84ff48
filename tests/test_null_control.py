"""`--control null` moves nothing, so the reference judge must see no winner: sampling keys differ, policies do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from align_contracts import open_artifact
from align_eval.algorithms.wilson import wilson

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "embedded.toml"
RUNS = [(method, seed) for seed in (42, 123, 777) for method in ("ppo", "grpo")]
SHORT = ("--num-iterations", "2", "--eval-every", "2", "--eval-prompts", "8")  # nothing moves, however long it runs


def call(name: str, command: str, **flags: object) -> None:
    """Run a console script with the embedded recipe; flags are named as in Python."""
    argv = [str(Path(sys.executable).parent / name), command]
    if (name, command) != ("align-eval", "judge"):
        argv += ["--config", str(RECIPE)]
    more = flags.pop("more", ())
    argv += [part for key, value in flags.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    done = subprocess.run([*argv, *more], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with data, base, sft and rm of the embedded recipe: ALIGN_EMBEDDED, or made here."""
    if given := os.environ.get("ALIGN_EMBEDDED"):
        return Path(given).resolve()
    out = tmp_path_factory.mktemp("embedded")
    call("align-data", "build", out=out / "data")
    call("align-sft", "base", data=out / "data", out=out / "base")
    call("align-sft", "train", base=out / "base", data=out / "data", out=out / "sft")
    call("align-rm", "train", sft=out / "sft", data=out / "data", out=out / "rm")
    return out


@pytest.mark.slow
def test_the_judge_favours_nobody(embedded, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ALIGN_STORE", str(embedded))
    data = embedded / "data"
    call("align-eval", "respond", policy=embedded / "sft", data=data, out=tmp_path / "responses-sft")
    wins = losses = 0
    for method, seed in RUNS:
        run, responses, judgments = (tmp_path / f"{kind}{method}-{seed}" for kind in ("", "responses-", "judgments-"))
        inputs = {"sft": embedded / "sft", "rm": embedded / "rm", "data": data}
        call("align-rl", method, **inputs, seed=seed, control="null", out=run, more=SHORT)
        policy = open_artifact(run, kind="policy")
        assert policy.details.control == "null"
        assert policy.metric("kl") == 0.0
        call("align-eval", "respond", policy=run, data=data, out=responses)
        call("align-eval", "judge", candidate=responses, baseline=tmp_path / "responses-sft", out=judgments)
        verdicts = open_artifact(judgments, kind="judgments").details
        wins, losses = wins + verdicts.wins, losses + verdicts.losses
        answers = [open_artifact(path).read_jsonl("responses") for path in (responses, tmp_path / "responses-sft")]
        same = sum(a["tokens"] == b["tokens"] for a, b in zip(*answers, strict=True))
        assert same < 0.8 * len(answers[0])  # other draws: not the same answers twice
    low, high = wilson(wins, wins + losses)
    with capsys.disabled():
        print(f"\nnull control: {wins} of {wins + losses} decided pairs, pooled interval [{low:.3f}, {high:.3f}]")
    # The six runs meet the same baseline answers, so their pairs are not independent: the interval is somewhat narrow.
    assert low <= 0.5 <= high
