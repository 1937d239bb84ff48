"""A real chain in miniature, made by the stages' own commands: artifacts with the files that they really have.

One process is warm and forks for every step, so that it takes seconds where the pipeline's processes take a minute.
"""

import importlib
import os
import sys
from pathlib import Path

from faults.children import ask
from faults.row import BrokenPromiseError
from pipeline.plan import plan

ROOT = Path(__file__).resolve().parents[2]
WARM = (
    "align_mlx.loading",
    "align_rl.run",
    "align_sft.train",
    "align_rm.train",
    "align_eval.respond",
    "align_eval.judge",
    "align_data.run",
)
"""What takes long to import and does not compute."""
SETTINGS = (
    'pipeline.methods=["grpo"]',
    "pipeline.seeds=[1]",
    "data.embedded_prompts=240",
    "data.target_size=60",
    "base.steps=2",
    "sft.max_steps=1",
    "rm.max_steps=1",
    "rl.num_iterations=1",
    "rl.eval_every=1",
)


def make_chain(out: Path) -> list[Path]:
    """Make a chain and give its artifacts.

    Raises:
        BrokenPromiseError: a step failed.
    """
    for name in WARM:
        importlib.import_module(name)
    _, steps = plan(ROOT / "tests" / "tiny.toml", out, SETTINGS)
    for planned in steps:
        if code := ask(lambda planned=planned: _be(planned.step.script, planned.argv)):
            raise BrokenPromiseError(f"{planned.step.name} ended with exit code {code}")
    return [out / planned.step.name for planned in steps]


def _be(script: str, argv: tuple[str, ...]) -> int:
    """Be a console script."""
    os.chdir(ROOT)
    sys.argv = [script, *argv]
    return int(importlib.import_module(f"{script.replace('-', '_')}.cli").main())
