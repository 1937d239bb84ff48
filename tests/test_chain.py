"""The whole chain in miniature: every console script, then deep verification of everything it published."""

import subprocess
import sys
from pathlib import Path

import pytest

from align_contracts import open_artifact

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "tests" / "tiny.toml"
RUNS = ("ppo-1", "grpo-1", "ppo-2", "grpo-2")
ARTIFACTS = {
    *("data", "base", "sft", "rm", "report", *RUNS, "responses-sft"),
    *(f"{kind}-{run}" for kind in ("responses", "judgments") for run in (*RUNS, "sft-aa")),
}


def pipeline(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "--recipe", str(RECIPE), "--out", str(out), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).parent / name, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "out"
    done = pipeline(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done\n") == len(ARTIFACTS)
    return path


def test_every_artifact_and_its_log_are_there(out):
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == ARTIFACTS
    assert {path.stem for path in (out / ".logs").glob("*.log")} == {"pipeline", *ARTIFACTS}


def test_deep_verification_and_lineage(out):
    deep = script("align-contracts", "validate", "--deep", str(out))
    assert deep.returncode == 0, deep.stdout + deep.stderr
    assert all(f"/{name}\n" in deep.stdout for name in ARTIFACTS)
    lineage = script("align-contracts", "lineage", str(out))
    assert lineage.returncode == 0, lineage.stdout + lineage.stderr


def test_a_finished_chain_is_kept(out):
    digests = {name: open_artifact(out / name).manifest_digest for name in ARTIFACTS}
    again = pipeline(out)
    assert again.returncode == 0, again.stderr
    assert {line.split()[0] for line in again.stdout.splitlines() if line.endswith("  kept")} == ARTIFACTS
    assert digests == {name: open_artifact(out / name).manifest_digest for name in ARTIFACTS}


def test_another_setting_stops_before_anything_runs(out):
    other = pipeline(out, "--set", "rl.clip_range=0.3")
    assert other.returncode == 2
    assert "po-1 was made with another clip_range: expected 0.3, got 0.2" in other.stderr  # of either method
    assert other.stdout == ""


def test_the_report_covers_every_run(out):
    report = open_artifact(out / "report", "report")
    assert report.details.runs == len(RUNS)
    assert {method: sorted(seeds) for method, seeds in report.details.methods.items()} == {
        "ppo": [1, 2],
        "grpo": [1, 2],
    }
    assert any(path.suffix == ".pdf" for path in report.files())


def test_each_policy_is_a_method_by_a_seed_on_the_same_sft(out):
    for run in RUNS:
        policy = open_artifact(out / run, "policy")
        assert f"{policy.details.method}-{policy.details.seed}" == run
        assert policy.input("policy").name == "sft"
