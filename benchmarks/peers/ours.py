"""Our GRPO iteration: the training loop itself, with a reward model over the same base."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import align_mlx  # isort: skip  (loads the BLAS before mlx.core)
import mlx.core as mx

from align_mlx.adapters import LoraSpec, fresh
from align_mlx.chat import encode_prompt
from align_mlx.compute import backend, bound_memory, choose
from align_mlx.loading import load_base
from align_mlx.reward import Scorer
from align_mlx.rollout import Prompt
from align_mlx.train_state import TrainState
from align_rl.config import GRPOConfig
from align_rl.loop import Record, train
from align_rl.methods.make import make_method
from align_rl.plan import plan
from peers.protocol import Turns, Work, make_prompts

NOWHERE = Path()
TOKENS = {"cpu": 1024, "cuda": 8192}
"""Padded tokens of a pass. On CUDA twice as many are as fast, but the memory is shared with the other contestant."""
ENDLESS = 10**6


def run(
    work: Work,
    begin: Callable[[TrainState], None],
    end: Callable[[Record], None],
    iterations: int,
    limit: float | None = None,
) -> None:
    """Train on the work's prompts, in fp32 or, on CUDA, in bf16; no artifact is read or written.

    Args:
        work: what an iteration is.
        begin: called once, before the first iteration.
        end: called after each with its log record.
        iterations: how many.
        limit: GiB that the work is planned for; None for the cut that is fastest in the competition.
    """
    bound_memory(limit)
    cut = {"memory_limit": limit}
    if limit is None:
        rows = work.prompts * work.answers
        cut |= {"token_budget": TOKENS[work.device], "gradient_checkpointing": False, "rollout_rows": rows}
    resident = load_base(Path(work.model), choose("dense", "auto" if work.device == "cuda" else "float32"))
    texts = make_prompts(work.prompts, work.words)
    prompts = [Prompt(encode_prompt(resident.tokenizer, text), number) for number, text in enumerate(texts)]
    resident.end_tokens = frozenset()  # every answer has all its tokens
    config = GRPOConfig(
        sft=NOWHERE,
        rm=NOWHERE,
        data=NOWHERE,
        out=NOWHERE,
        num_iterations=iterations,
        eval_every=ENDLESS,
        batch_size=work.prompts,
        K=work.answers,
        minibatches=1,
        max_response_length=work.new_tokens,
        **cut,
        lora_rank=work.rank,
        lora_alpha=2.0 * work.rank,
        lora_layers=len(resident.model.layers),
    )
    spec = LoraSpec(work.rank, 2.0 * work.rank, len(resident.model.layers))
    head = {"weight": mx.random.normal((1, resident.hidden_size), key=mx.random.key(1)), "bias": mx.zeros((1,))}
    scorer = Scorer(resident, fresh(resident.maps, spec, mx.random.key(2)), head)
    state = TrainState.start(make_method(config, resident, scorer).params(mx.random.key(3)))
    config = plan(config, resident, scorer, prompts, state)
    scorer = replace(scorer, token_budget=config.token_budget)
    method = make_method(config, resident, scorer)

    def evaluate(state: TrainState, target: float) -> Record:
        if state.iteration == 0:
            begin(state)
        return {}

    mx.reset_peak_memory()
    train(method, resident, scorer, prompts, config, state, evaluate=evaluate, log=end)


def device_peak() -> int | None:
    """Give MLX's peak memory on the GPU in bytes; None on a CPU."""
    return None if backend() == "cpu" else mx.get_peak_memory()


def main() -> None:
    """Take turns until the driver ends them."""
    turns, trained = Turns(), 0

    def begin(state: TrainState) -> None:
        nonlocal trained
        trained = sum(array.size for array in state.params.values())
        turns.begin()

    def end(record: dict[str, Any]) -> None:
        turns.phases = record["phases"]
        turns.end(trained=trained, new_tokens=record["response_length_mean"], blas=align_mlx.BLAS, device=device_peak())
        turns.begin()

    run(Work.given(), begin, end, ENDLESS)


if __name__ == "__main__":
    main()
