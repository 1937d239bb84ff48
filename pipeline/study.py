"""What a whole study will take, said before day one: hours, disk, memory, the judge's bill, the effect it can find."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts.space import amount, free_bytes, require_space
from pipeline.chain import PipelineConfig
from pipeline.plan import Planned
from pipeline.shape import Shape, shape_of
from pipeline.work import Work, work_of

INSTRUCTION_TOKENS = 500
"""What a judge reads beside prompt and answers, generously."""


@dataclass(frozen=True)
class Machine:
    """What computes.

    Attributes:
        tflops: 10^12 operations a second in matrix products.
        weight_bytes: of a weight in memory while computing.
        said: where that is from.
    """

    tflops: float
    weight_bytes: float | None
    said: str


def study(settings: PipelineConfig, steps: Sequence[Planned], there: Sequence[bool], tflops: float | None) -> list[str]:
    """Give the forecast, in lines.

    Args:
        settings: the ``[pipeline]`` section.
        steps: the whole chain.
        there: for each step whether its artifact is there; what is there takes nothing more.
        tflops: speed of the machine that will run it; None measures this one.
    """
    found = known_work(steps, there)
    lines = [f"{sum(there)} of {len(steps)} steps are there; what the others take:"]
    if found is None:
        lines += ["  time, disk and memory: unknown until the base is there: its size is not in the recipe"]
    else:
        shape, work = found
        machine = given(tflops) if tflops else measured()
        told = *_time(shape, work, machine), _disk(steps, work, settings.jobs), _memory(shape, work, machine)
        lines += [f"  {line}" for line in told]
    lines += [f"  {line}" for line in (*_bill(steps, there), *_effect(settings, steps))]
    return lines


def known_work(steps: Sequence[Planned], there: Sequence[bool]) -> tuple[Shape, dict[str, Work]] | None:
    """Give the base's shape and what each step that is not there takes; None where the shape is not known."""
    base: Any = next(one for one in steps if one.step.name == "base")
    shape = shape_of(base.config, base.target)
    if shape is None:
        return None
    made = {one.step.name for one, is_there in zip(steps, there, strict=True) if is_there}
    return shape, {name: Work() if name in made else work for name, work in work_of(steps, shape).items()}


def disk_parts(work: dict[str, Work], jobs: int) -> dict[str, int]:
    """Give the bytes of all artifacts, and of what the hungriest steps that run together have beside theirs."""
    scratch = sorted((one.scratch for one in work.values()), reverse=True)[:jobs]
    return {"artifacts": sum(one.disk for one in work.values()), "checkpoints and run folders": sum(scratch)}


def require_disk(out: Path, steps: Sequence[Planned], there: Sequence[bool], jobs: int) -> None:
    """Raise PreflightError where the disk has less than the whole chain will write, as far as that is known."""
    if (found := known_work(steps, there)) is not None:
        require_space(out, disk_parts(found[1], jobs))


def given(tflops: float) -> Machine:
    """Describe a machine of a stated speed."""
    return Machine(tflops, None, f"{tflops:g} TFLOP/s, as --tflops says")


def measured() -> Machine:
    """Measure this machine: a matrix product of 2048³ in the number format that stages would compute in."""
    import mlx.core as mx

    from align_mlx.compute import choose

    compute = choose()
    size = 2048
    a, b = (mx.random.normal((size, size), key=mx.random.key(i)).astype(compute.dtype) for i in (0, 1))
    mx.eval(a, b)
    seconds = []
    for _ in range(4):
        begun = time.perf_counter()
        mx.eval(a @ b)
        seconds.append(time.perf_counter() - begun)
    speed = 2 * size**3 / min(seconds[1:]) / 1e12
    return Machine(speed, float(compute.dtype.size) if compute.dense else None, f"{speed:.2g} TFLOP/s, measured here")


def _time(shape: Shape, work: dict[str, Work], machine: Machine) -> list[str]:
    kinds: dict[str, float] = {}
    for name, one in work.items():
        kind = name.partition("-")[0]
        kinds[kind] = kinds.get(kind, 0.0) + one.flop
    hours = {kind: flop / machine.tflops / 1e12 / 3600 for kind, flop in kinds.items() if flop}
    listed = ", ".join(f"{kind} {_hours(each)}" for kind, each in hours.items())
    return [
        f"time    {_hours(sum(hours.values()))} of matrix products ({listed})",
        f"        {machine.said}; assumed: nothing else costs time, and every sequence is at its longest",
        f"        base of {shape.parameters / 1e9:.3g} billion weights, from {shape.source}",
    ]


def _disk(steps: Sequence[Planned], work: dict[str, Work], jobs: int) -> str:
    parts = disk_parts(work, jobs)
    listed = ", ".join(f"{name} {amount(size)}" for name, size in parts.items())
    free = amount(free_bytes(steps[0].out))
    return f"disk    {amount(sum(parts.values()))} ({listed}), {free} free; data and downloads apart"


def _memory(shape: Shape, work: dict[str, Work], machine: Machine) -> str:
    stored = work["base"].disk or shape.stored_bytes(4, 64)
    weights = machine.weight_bytes * shape.parameters if machine.weight_bytes else stored
    # parameters, gradients, two moments, the best so far
    states = 5 * 4 * max(one.trained for one in work.values())
    return (
        f"memory  {amount(weights + states)} at least: weights {amount(weights)}, training state {amount(states)}; "
        "align-rl ppo --dry-run measures the peak once sft and rm are there"
    )


def _bill(steps: Sequence[Planned], there: Sequence[bool]) -> list[str]:
    """What an API judge costs at most: every answer at its longest, every pair in both orders."""
    judged: list[Any] = [
        one.config for one, made in zip(steps, there, strict=True) if one.step.command == "judge" and not made
    ]
    if not judged or not judged[0].judge.startswith("openai:"):
        return ["judge   no API, no bill"]
    from align_eval.judges.cost import price_of

    config, data = judged[0], _config(steps, "data")
    respond, model = _config(steps, "responses-sft"), config.judge.partition(":")[2]
    price = price_of(
        model, config.price_input_usd, config.price_output_usd, is_openai="api.openai.com" in config.base_url
    )
    calls = 2 * data.test * len(judged)
    cap = "no cap" if config.max_cost_usd is None else f"cap ${config.max_cost_usd * len(judged):.2f}"
    if price is None:
        return [f"judge   {calls} calls of {model}; its price is not known (judge.price_input_usd, …); {cap}"]
    read = INSTRUCTION_TOKENS + respond.max_prompt_length + 2 * respond.max_new_tokens
    most = calls * price.of(read, config.max_reply_tokens)
    return [f"judge   ${most:.2f} at most for {calls} calls of {model}, each text at its longest; {cap}"]


def _effect(settings: PipelineConfig, steps: Sequence[Planned]) -> list[str]:
    if len(settings.methods) < 2 or len(settings.seeds) < 2:
        return ["effect  methods are compared by two or more seeds of each"]
    from align_eval.config import PlanConfig
    from align_eval.plan import plan

    prompts = _config(steps, "data").test
    rows = plan(PlanConfig(seeds=len(settings.seeds), prompts=prompts))["rows"]
    listed = ", ".join(f"{100 * row['detectable_difference']:.1f} ({100 * row['seed_sd']:g})" for row in rows)
    return [
        f"effect  differences of win rate found with 80 % power, in points (seeds' own spread in points): {listed}",
        f"        {len(settings.seeds)} seeds a method, {prompts} prompts; align-eval plan says what more would find",
    ]


def _config(steps: Sequence[Planned], name: str) -> Any:
    return next(one.config for one in steps if one.step.name == name)


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.2g} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"
