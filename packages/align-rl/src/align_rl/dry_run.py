"""What a run will take, from an iteration or two of it in earnest."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from align_mlx.forecast import Forecast, Part
from align_mlx.progress import doing
from align_rl.loop import Record
from align_rl.prepare import Ready

PATIENCE = 30.0
"""Seconds: after an iteration shorter than this a second one is measured, which compiles nothing any more."""


def forecast(ready: Ready) -> Forecast:
    """Do one or two iterations and a part of an evaluation point, and extrapolate; nothing is kept.

    Args:
        ready: the run.
    """
    config, records = ready.config, list[Record]()
    mx.reset_peak_memory()
    for iteration in (1, 2):
        if records and records[-1]["seconds"] > PATIENCE:
            break
        doing(f"trying iteration {iteration}", aloud=True)
        once = replace(ready, config=config.model_copy(update={"num_iterations": iteration}))
        once.train(evaluate=lambda state, target: {}, log=records.append)
    prompts = len(ready.rows.validation)
    few = min(prompts, config.rollout_rows)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "eval").mkdir()
        evaluator = ready.evaluator(Path(folder).joinpath)
        evaluator.prompts, evaluator.chosen = evaluator.prompts[:few], evaluator.chosen[:few]
        doing("trying an evaluation point", aloud=True)
        start = time.perf_counter()
        evaluator(ready.state, config.targets[0])
        seconds = (time.perf_counter() - start) * prompts / few
    last = records[-1]
    points = 1 + -(-config.num_iterations // config.eval_every)
    again = "; answered again each time that pullback acts there" if config.controller == "pullback" else ""
    phases = ", ".join(f"{name} {spent:.1f}" for name, spent in last["phases"].items() if name != "eval")
    return Forecast(
        f"{ready.method.name}, {config.num_iterations} iterations of {config.batch_size} prompts",
        plan=config,
        peak=mx.get_peak_memory(),
        parts=(
            Part(
                "iteration", config.num_iterations, last["seconds"], f"{phases}; {last['response_tokens']} new tokens"
            ),
            Part("evaluation point", points, seconds, f"{prompts} prompts{again}"),
        ),
    )
