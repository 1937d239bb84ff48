"""SFT, reward model, PPO and GRPO of the embedded recipe, a few steps each, by one process and by two of mlx.launch.

``python -m distributed`` makes data and a base by the recipe, starts the console scripts themselves, alone and with
``mlx.launch -n 2``, and then computes gradients, rollouts and decisions of one step in both ways
(`distributed.measure`). A line for each training says:

- s/step, 1 and 2: the median of the log's seconds of a step (an iteration in RL), by one process and by two;
- gradients: their largest difference, of each tensor relative to its largest element, over all tensors;
- answers: how many rollouts are the same token by token, of those drawn by the run itself and of those measured;
- adapters: how far the trained B are apart, relatively in norm;
- digest: the sha256 of everything that each of the two knows, which must be one and the same.

The last line is ``distributed: pass``, or ``distributed: FAIL`` with what failed.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import mlx.core as mx
import numpy as np

from align_contracts import Artifact, open_artifact
from distributed.measure import Found, Trainings, apart
from pipeline.plan import Planned, plan

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
TRAININGS = {"sft": "sft", "rm": "rm", "ppo": "ppo-42", "grpo": "grpo-42"}
"""The trainings, and which step of the pipeline each is here."""
SETTINGS = (
    "data.embedded_prompts=3000",
    "data.target_size=1500",
    "base.steps=40",
    "sft.max_steps=6",
    "rm.max_steps=6",
    "rm.calibration_prompts=16",
    "rl.num_iterations=4",
    "rl.eval_every=4",
    "rl.eval_prompts=8",
)
GRADIENT = 1e-4
"""How far gradients may be apart. The tests hold them to less (`distributed.measure.ROUNDING`); to a base of so few
steps the two answers of a pair are nearly the same, and Bradley-Terry's gradient is a small difference."""
ADAPTER = 1e-2
"""How far the trained B may be apart: Adam gives every element a step of the same size, also those whose gradient is
hardly more than its rounding."""
LIMIT = 300
"""Seconds that one command may take."""
HEAD = f"{'training':9} {'s/step: 1':>9} {'2':>7} {'gradients':>11} {'answers':>9} {'adapters':>10}  digest"


def main() -> int:
    """Run all and print the table."""
    with TemporaryDirectory() as folder:
        _, steps = plan(ROOT / "recipes" / "embedded.toml", Path(folder), SETTINGS)
        named = {planned.step.name: planned for planned in steps}
        for name in ("data", "base"):
            run(f"{name}, for all", [named[name].step.script, *named[name].argv])
        for kind, step in TRAININGS.items():
            train(kind, named[step])
        alone, together = measured(Path(folder), {kind: named[step] for kind, step in TRAININGS.items()})
        print(f"\n{HEAD}")
        failures = [failure for kind, step in TRAININGS.items() for failure in line(kind, named[step], alone, together)]
    print(f"distributed: {'FAIL ' + '; '.join(failures) if failures else 'pass'}")
    return 1 if failures else 0


def train(kind: str, planned: Planned) -> None:
    """Make a training's artifact by one process, and beside it by two."""
    script, target = str(SCRIPTS / planned.step.script), planned.target
    run(f"{kind} by one process", [script, *planned.argv])
    argv = [str(by_two(target)) if word == str(target) else word for word in planned.argv]
    run(f"{kind} by two", [*launcher(), script, *argv])
    if not by_two(target).exists():
        raise SystemExit(f"distributed: FAIL {kind}: two processes published nothing")


def measured(folder: Path, named: dict[str, Planned]) -> tuple[Found, list[Found]]:
    """Compute one step of everything by one process, and by two; give what the one knows, and what each of the two."""
    settings, found = folder / "settings.json", {1: folder / "by-1", 2: folder / "by-2"}
    settings.write_text(Trainings(**{kind: planned.config for kind, planned in named.items()}).model_dump_json())
    for count, out in found.items():
        out.mkdir()
        program = [sys.executable, "-m", "distributed.measure", str(settings), str(out)]
        run(f"one step of all by {count}", [*(launcher() if count == 2 else []), *program])
    one, *two = [dict(np.load(found[count] / f"{rank}.npz")) for count, rank in ((1, 0), (2, 0), (2, 1))]
    return one, two


def line(kind: str, planned: Planned, alone: Found, together: list[Found]) -> list[str]:
    """Print a training's line, and give what is wrong with it."""
    found = open_artifact(planned.target, deep=True), open_artifact(by_two(planned.target), deep=True)
    seconds = [median(row["seconds"] for row in one.read_jsonl("log")[1:]) for one in found]
    gradients, adapters = apart(alone, together[0], kind), relative(*(trained(one) for one in found))
    same, answers = rollouts(kind, found, alone, together[0])
    digests = [digest(kind, one) for one in together]
    shown = f"{same}/{answers}" if answers else "-"
    print(
        f"{kind:9} {seconds[0]:9.3f} {seconds[1]:7.3f} {gradients:11.1e} {shown:>9} {adapters:10.1e}  {digests[0][:12]}"
    )
    checks = {
        f"gradients {gradients:.1e} apart": gradients <= GRADIENT,
        f"{answers - same} answers differ": same == answers,
        f"adapters {adapters:.1e} apart": adapters <= ADAPTER,
        f"the two know different things ({digests[0][:12]}, {digests[1][:12]})": digests[0] == digests[1],
        "not made by two processes": found[1].manifest.extensions.get("processes") == 2,
    }
    return [f"{kind}: {failure}" for failure, well in checks.items() if not well]


def rollouts(kind: str, found: Sequence[Artifact], alone: Found, together: Found) -> tuple[int, int]:
    """Give how many answers are the same token by token, and how many there are."""
    if kind not in ("ppo", "grpo"):
        return 0, 0
    drawn = [[row["tokens"] for row in one.read_jsonl("eval_0000_responses")] for one in found]
    drawn = [own + rows[f"{kind} answers"].tolist() for own, rows in zip(drawn, (alone, together), strict=True)]
    return sum(a == b for a, b in zip(*drawn, strict=True)), len(drawn[0])


def digest(kind: str, found: Found) -> str:
    """Give the sha256 of everything that a process knows of a training."""
    sha = hashlib.sha256()
    for name in sorted(name for name in found if name.startswith(f"{kind} ")):
        sha.update(name.encode() + found[name].tobytes())
    return sha.hexdigest()


def trained(artifact: Artifact) -> np.ndarray:
    """Give all B of a published adapter, which began at 0, as one vector."""
    arrays = mx.load(str(artifact.file("adapter")))
    return np.concatenate([np.array(arrays[k], np.float64).ravel() for k in sorted(arrays) if k.endswith("lora_b")])


def relative(one: np.ndarray, other: np.ndarray) -> float:
    """Give ‖other − one‖ / ‖one‖."""
    return float(np.linalg.norm(other - one) / np.linalg.norm(one))


def by_two(target: Path) -> Path:
    """Give where the artifact of two processes lies."""
    return target.with_name(f"{target.name}-by-two")


def launcher() -> list[str]:
    """Give the start of a command that runs two processes."""
    return [str(SCRIPTS / "mlx.launch"), "-n", "2", "--backend", "ring", "--"]


def run(what: str, command: Sequence[str]) -> None:
    """Run a command of this environment and print its seconds; what it says is shown only where it fails."""
    began, (silence, held) = time.monotonic(), os.pipe()  # mlx.launch cannot live with an input that has ended
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False, stdin=silence
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"distributed: FAIL {what}: not done in {LIMIT} s") from None
    finally:
        os.close(silence)
        os.close(held)
    if done.returncode or "exited with code" in done.stderr:  # mlx.launch itself ends with 0 then
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"distributed: FAIL {what}: see above")
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
