"""SFT, reward model, PPO and GRPO of the embedded recipe, a few steps each, by one process and by two.

``python -m distributed`` starts the console scripts themselves, the second time with ``mlx.launch -n 2``, and prints
for each stage: seconds of both, how far the first step's gradient norm and the published adapter's B are apart, and how
many answers of the evaluation before training are the same token by token. The last line is ``distributed: pass`` or
``distributed: FAIL`` with what failed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mlx.core as mx
import numpy as np

from align_contracts import Artifact, open_artifact
from pipeline.plan import Planned, plan

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
STAGES = ("sft", "rm", "ppo-42", "grpo-42")
SETTINGS = (
    "data.embedded_prompts=3000",
    "data.target_size=1500",
    "base.steps=40",
    "sft.max_steps=4",
    "rm.max_steps=4",
    "rm.calibration_prompts=16",
    "rl.num_iterations=2",
    "rl.eval_every=2",
    "rl.eval_prompts=8",
)
GRADIENT = 1e-4
"""How far the norms of the first gradients may be apart, relatively: fp32 sums in another order."""
ADAPTER = 1e-2
"""How far the trained B may be apart, relatively in norm: Adam gives every element a step of the same size, also those
whose gradient is hardly more than its rounding."""
LIMIT = 600
"""Seconds that one command may take."""


def main() -> int:
    """Run all and print the table."""
    failures: list[str] = []
    with TemporaryDirectory() as folder:
        _, steps = plan(ROOT / "recipes" / "embedded.toml", Path(folder), SETTINGS)
        named = {planned.step.name: planned for planned in steps}
        for name in ("data", "base"):
            run(named[name].step.script, named[name].argv)
        print(f"{'stage':8} {'1 process':>10} {'2':>8}   gradient norm   adapter B   same answers")
        for name in STAGES:
            failures += compare(named[name])
    print(f"distributed: {'FAIL ' + '; '.join(failures) if failures else 'pass'}")
    return 1 if failures else 0


def compare(planned: Planned) -> list[str]:
    """Run a stage twice, print its line, and give what is wrong."""
    name, target = planned.step.name, planned.target
    two = target.with_name(f"{name}-by-two")
    argv = [str(two) if word == str(target) else word for word in planned.argv]
    seconds = [
        run(planned.step.script, planned.argv),
        run("mlx.launch", ["-n", "2", "--backend", "ring", "--", str(SCRIPTS / planned.step.script), *argv]),
    ]
    if not two.exists():
        return [f"{name}: two processes published nothing"]
    found = open_artifact(target, deep=True), open_artifact(two, deep=True)
    norms = [first_norm(one) for one in found]
    gradient = abs(norms[1] - norms[0]) / norms[0]
    weights = [trained(one) for one in found]
    adapter = float(np.linalg.norm(weights[1] - weights[0]) / np.linalg.norm(weights[0]))
    answers = [one.read_jsonl("eval_0000_responses") if name.startswith(("ppo", "grpo")) else [] for one in found]
    same = sum(a["tokens"] == b["tokens"] for a, b in zip(*answers, strict=True))
    shown = f"{same}/{len(answers[0])}" if answers[0] else "-"
    print(f"{name:8} {seconds[0]:8.1f} s {seconds[1]:6.1f} s   {gradient:13.1e}   {adapter:9.1e}   {shown}", flush=True)
    bad = []
    if not gradient <= GRADIENT:
        bad.append(f"{name}: gradient norms {gradient:.1e} apart")
    if not adapter <= ADAPTER:
        bad.append(f"{name}: adapters {adapter:.1e} apart")
    if same < len(answers[0]):
        bad.append(f"{name}: {len(answers[0]) - same} answers differ")
    if found[1].manifest.extensions.get("processes") != 2:
        bad.append(f"{name}: not made by two processes")
    return bad


def run(script: str, arguments: Sequence[str]) -> float:
    """Run a program of this environment and give its seconds; what it says is shown only where it fails."""
    began, (silence, held) = time.monotonic(), os.pipe()  # mlx.launch spins on an input that has ended
    command = [str(SCRIPTS / script), *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False, stdin=silence
        )
    finally:
        os.close(silence)
        os.close(held)
    if done.returncode or "exited with code" in done.stderr:  # mlx.launch itself ends with 0 then
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"distributed: FAIL {script} ended with exit code {done.returncode}")
    return time.monotonic() - began


def first_norm(artifact: Artifact) -> float:
    """Give the first norm of a gradient in a run's log."""
    row = artifact.read_jsonl("log")[0]
    return float(row["gradient_norm"] if "gradient_norm" in row else row["grad_norm"])


def trained(artifact: Artifact) -> np.ndarray:
    """Give all B of a published adapter, which began at 0, as one vector."""
    arrays = mx.load(str(artifact.file("adapter")))
    return np.concatenate([np.array(arrays[k], np.float64).ravel() for k in sorted(arrays) if k.endswith("lora_b")])


if __name__ == "__main__":
    sys.exit(main())
