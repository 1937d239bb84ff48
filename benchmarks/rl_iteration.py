"""One GRPO iteration of ours against TRL's and mlx-lm-lora's on the same work, taking turns in one run.

Run: uv run nox -s bench -- rl-iteration [--model DIR] [--rounds 5] [--threads 2] [--as-installed 0]
     uv run nox -s bench -- rl-iteration --cuda --shape gemma-2b [--trl-passes 32] [--trl-python PYTHON]

A small random Gemma, 8 prompts, 6 answers each of exactly 64 tokens, LoRA of rank 16 on all linear maps, fp32, KL
against a reference, one optimizer step. Ours scores the answers with a reward model over the same base (its phase
"rollout" is sampling, scoring and both policies' log-probs); the others measure their length. Each contestant is a
process of its own (`peers`) and does one iteration a round, so all of them see the same machine; the peers live in
environments with pinned versions, made at the first run. mlx-lm-lora runs on our BLAS, and with --as-installed ROUNDS
also on MLX's own (minutes a round, none to warm up).

With --cuda ours and TRL compete on one GPU in bf16: 16 prompts of 128 tokens, 6 answers each of exactly 256. Both stay
on the GPU all the time, so what one allocates the other lacks; --trl-passes: how many sequences TRL takes at a time.

Prints a table, and as its last line one JSON object: seconds are medians of the rounds after one to warm up, ratios
our seconds over theirs, memory the peak resident set (on a GPU what its framework allocated there) in bytes.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from peers.contestant import AS_INSTALLED, Contestant, Facts, start
from peers.protocol import Work
from peers.shapes import SHAPES

HERE = Path(__file__).parent


def compete(
    work: Work, rounds: int, as_installed: int, folder: Path, pythons: dict[str, str | None]
) -> list[Contestant]:
    """Let the contestants take turns: one round to warm up, then `rounds`; as installed only `as_installed` rounds."""
    plays = dict.fromkeys(("ours", "trl", "mlx_lm_lora")[: 2 if work.device == "cuda" else 3], range(rounds + 1))
    if as_installed:
        plays["mlx_lm_lora" + AS_INSTALLED] = range(1, as_installed + 1)
    contestants: list[Contestant] = []
    try:
        for name, when in plays.items():
            contestants.append(start(name, when, work, folder, pythons.get(name)))
        for number in range(rounds + 1):
            for contestant in contestants:
                if number in contestant.rounds:
                    contestant.turn(number)
                    require_same_work(work, contestants[0], contestant)
    finally:
        for contestant in contestants:
            contestant.stop()
    return contestants


def require_same_work(work: Work, ours: Contestant, other: Contestant) -> None:
    """Stop where a contestant sampled fewer tokens, trained other parameters, or ran on another BLAS than it should."""
    wanted = {"new_tokens": work.new_tokens, "trained": ours.last["trained"]}
    if "blas" in other.last:
        wanted["blas"] = "off" if other.name.endswith(AS_INSTALLED) else ours.last["blas"]
    found = {key: other.last[key] for key in wanted}
    if found != wanted:
        raise SystemExit(f"{other.name} did other work than ours: {found} instead of {wanted}")


def figures(contestants: list[Contestant]) -> Facts:
    """Give medians, ratios of ours to theirs, and peak memory by contestant; null where one did not play."""
    played = {c.name: c for c in contestants}
    found: Facts = {}
    for name in ("ours", "trl", "mlx_lm_lora", "mlx_lm_lora" + AS_INSTALLED):
        seconds = statistics.median(played[name].seconds) if name in played else None
        found[f"{name}_s"] = seconds
        if name != "ours":
            found[f"ratio_{name}"] = found["ours_s"] / seconds if seconds else None
        found[f"rss_{name}"] = played[name].last["rss"] if name in played else None
        found[f"device_{name}"] = played[name].last.get("device") if name in played else None
    return found


def main() -> None:
    """Compete and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory instead of the random Gemma")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the one to warm up (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each contestant (default 2)")
    parser.add_argument("--as-installed", type=int, default=0, help="rounds of mlx-lm-lora on MLX's own BLAS")
    parser.add_argument("--cuda", action="store_true", help="compete on a GPU")
    parser.add_argument("--shape", choices=SHAPES, help="shape of the random Gemma instead of the small one")
    parser.add_argument("--trl-passes", type=int, default=32, help="with --cuda: sequences of a pass of TRL's")
    parser.add_argument("--trl-python", help="a Python that has TRL, instead of making its environment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        shape = [options.shape] if options.shape else []
        model = options.model and options.model.resolve()
        if model is None:
            model = Path(scratch, "model")
            subprocess.run([sys.executable, "-m", "peers.model", str(model), *shape], cwd=HERE, check=True)
        work = Work(str(model), threads=options.threads)
        if options.cuda:
            work = replace(work, device="cuda", prompts=16, words=122, new_tokens=256, passes=options.trl_passes)
        installed, pythons = min(options.as_installed, options.rounds), {"trl": options.trl_python}
        contestants = compete(work, options.rounds, installed, Path(scratch), pythons)
    found = figures(contestants)
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {work.threads} threads each")
    print(f"{'':26}{'median s':>10}{'min':>8}{'max':>8}{'peak MiB':>10}{'ours/it':>9}  phases of the last round, s")
    for c in contestants:
        median, ratio = found[f"{c.name}_s"], found.get(f"ratio_{c.name}", 1.0)
        memory = (found[f"device_{c.name}"] or found[f"rss_{c.name}"]) / 2**20
        phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in c.last["phases"].items())
        spread = f"{median:10.2f}{min(c.seconds):8.2f}{max(c.seconds):8.2f}"
        print(f"{c.name:26}{spread}{memory:10.0f}{ratio:9.3f}  {phases}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
