"""What each step takes: floating-point operations, and bytes on the disk, every sequence at its longest.

A forward pass is two operations a weight and token; so is the backward pass, which with a frozen base has the
gradients of activations only and ends at the lowest adapted block; so is computing a block again. Attention's part that
grows with the square of the length is left out: below 512 tokens it is a few per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.plan import Planned
from pipeline.shape import Shape

_TOKEN_BYTES = 80
"""Of a response token with its numbers in JSON, at most; as `align_rl.disk`."""


@dataclass(frozen=True)
class Work:
    """What a step takes.

    Attributes:
        flop: floating-point operations.
        disk: bytes of its artifact.
        scratch: further bytes while it runs.
        trained: parameters that it trains.
    """

    flop: float = 0.0
    disk: int = 0
    scratch: int = 0
    trained: int = 0


def work_of(steps: Sequence[Planned], shape: Shape) -> dict[str, Work]:
    """Estimate every step.

    Args:
        steps: the whole chain.
        shape: the base's.
    """
    configs: dict[str, Any] = {one.step.name: one.config for one in steps}
    return {one.step.name: _work(one, configs, shape) for one in steps}


def _work(one: Planned, configs: Mapping[str, Any], shape: Shape) -> Work:
    config: Any = one.config
    command = one.step.command
    if one.step.script == "align-sft" and command == "base":
        pretraining = 6.0 * shape.parameters * config.steps * config.batch_tokens if config.embedded else 0.0
        return Work(pretraining, shape.stored_bytes(config.bits, config.group_size))
    if one.step.script == "align-sft":
        tokens = _rows(configs["data"], "train", config) * config.max_seq_length
        return _supervised(
            config, shape, tokens, shape.lora(config.lora_rank, config.lora_layers), config.lora_layers, head=True
        )
    if one.step.script == "align-rm":
        rows = _rows(configs["data"], config.split, config)
        trained = shape.lora(config.lora_rank, config.lora_layers)
        return _supervised(config, shape, 2 * rows * config.max_seq_length, trained, config.lora_layers, head=False)
    if one.step.script == "align-rl":
        return _rl(config, configs["sft"], shape, ppo=command == "ppo")
    if command in ("respond", "sweep"):
        return _answers(config, configs["data"], shape)
    return Work()


def _rows(data: Any, split: str, config: Any) -> int:
    """Rows that pass: all of the split, so often as there are epochs."""
    kept = data.validation + data.calibration + data.gold
    rows = data.gold if split == "gold" else max(0, data.target_size - kept)
    size = config.batch_size * getattr(config, "gradient_accumulation_steps", 1)
    return min(rows * config.epochs, (config.max_steps or rows * config.epochs) * size)


def _passes(shape: Shape, layers: int, again: bool | None, *, head: bool) -> tuple[float, float]:
    """Operations a token of a forward pass, and of a pass with its backward pass."""
    logits = 2.0 * shape.head if head else 0.0
    forward = 2.0 * shape.layers * shape.block + logits
    back = 2.0 * min(layers, shape.layers) * shape.block
    return forward, forward + logits + back * (1 if again is False else 2)


def _supervised(config: Any, shape: Shape, tokens: int, trained: int, layers: int, *, head: bool) -> Work:
    _, learn = _passes(shape, layers, config.gradient_checkpointing, head=head)
    states = (config.keep_checkpoints + 1) * 3 * 4 * trained
    return Work(learn * tokens, 4 * trained, states, trained)


def _rl(config: Any, sft: Any, shape: Shape, *, ppo: bool) -> Work:
    policy = shape.lora(config.lora_rank, config.lora_layers)
    trained = 2 * policy + shape.hidden + 1 if ppo else policy
    prompts, answers = config.batch_size, config.batch_size * (1 if ppo else config.K)
    length = config.max_prompt_length + config.max_response_length
    forward, learn = _passes(shape, config.lora_layers, config.gradient_checkpointing, head=True)
    score, critic = _passes(shape, config.lora_layers, config.gradient_checkpointing, head=False)
    sampled = prompts * config.max_prompt_length + answers * config.max_response_length
    an_answer = forward + score + config.ppo_epochs * learn  # reference, reward model, updates
    if ppo:
        an_answer += score + config.ppo_epochs * critic
    iteration = sampled * forward + answers * length * an_answer
    points = 1 + -(-config.num_iterations // config.eval_every)
    point = config.eval_prompts * length * (3 * forward + score)  # answers, reference, perplexity, reward
    kept = points * (2 * policy + config.eval_prompts * config.max_response_length * _TOKEN_BYTES)
    disk = 4 * trained + 4 * shape.lora(sft.lora_rank, sft.lora_layers) + kept
    scratch = kept + (config.keep_checkpoints + 1) * 4 * 4 * trained
    return Work(config.num_iterations * iteration + points * point, disk, scratch, trained)


def _answers(config: Any, data: Any, shape: Shape) -> Work:
    prompts = getattr(config, "eval_prompts", None) or getattr(data, config.split)
    times = len(getattr(config, "strengths", (1,)))
    length = config.max_prompt_length + config.max_new_tokens
    forward, _ = _passes(shape, shape.layers, False, head=True)
    score, _ = _passes(shape, shape.layers, False, head=False)
    return Work(times * prompts * length * (forward + score), times * prompts * config.max_new_tokens * _TOKEN_BYTES)
