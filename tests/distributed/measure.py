"""Everything that processes compute together, without a step taken: ``python -m distributed.measure SETTINGS OUT``.

Each process writes what it knows, so that they can be held against each other and against one process alone.
"""

import sys
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from align_contracts import open_artifact
from align_mlx.adapters import AdaptedLinear, Adapter, LoraSpec, Params
from align_mlx.compute import choose
from align_mlx.perplexity import perplexity
from align_mlx.reward import load_scorer
from align_mlx.rollout import Draw
from align_mlx.world import World, connected
from align_rl.algorithms.controller import Control, control
from align_rl.config import GRPOConfig, PPOConfig, RLConfig
from align_rl.loop import accumulate as rl_gradient
from align_rl.measures import rollout_facts
from align_rl.methods.actor import actor_adapter
from align_rl.prepare import prepare
from align_rl.rollout import collect
from align_rm import objective
from align_rm.config import TrainConfig as RMConfig
from align_rm.pairs import encode_pairs, score_pairs
from align_sft.config import TrainConfig as SFTConfig
from align_sft.gradient import accumulate, make_gradient
from align_sft.train import load
from tiny.stores import random_adapter

Found = dict[str, np.ndarray]
ROUNDING = 2e-5
"""How far gradients may be apart, of a tensor's largest element. A gradient sums some 10³ products of fp32 (ε = 1.2e-7)
in another order: √10³ ε = 4e-6 at random, and passes of another width change the terms by a few ε more."""
SCORED = 100
"""Most rows of which perplexity and scores are taken."""


class Trainings(BaseModel):
    """The settings of all four, on the artifacts of one store, the reward model's own among them."""

    sft: SFTConfig
    rm: RMConfig
    ppo: PPOConfig
    grpo: GRPOConfig


def measure(trainings: Trainings, world: World) -> Found:
    """Give gradients, rollouts, experience and decisions, each under its training's name and its own."""
    found = {"sft": fine_tuning(trainings.sft, world), "rm": preference(trainings.rm, world)}
    found |= {"ppo": learning(trainings.ppo, world), "grpo": learning(trainings.grpo, world)}
    return {f"{kind} {name}": array for kind, arrays in found.items() for name, array in arrays.items()}


def fine_tuning(config: SFTConfig, world: World) -> Found:
    """Give SFT's loss and gradient of two batches, and a perplexity."""
    base, train, _ = load(config, open_artifact(config.base), open_artifact(config.data))
    adapter, rows, found = moved(base.maps, config, 5), train.tokens, Found()
    gradient = make_gradient(base, adapter.scale, compiled=False)
    for count in (uneven(config.batch_size * config.gradient_accumulation_steps), 1):  # of one row, one has none
        budget = config.token_budget
        loss, grads, tokens = accumulate(gradient, adapter.params, rows[:count], config.batch_size, budget, world)
        found |= {f"{count} loss": np.array([loss]), f"{count} tokens": np.array([tokens])}
        found |= named(f"{count} gradient", grads)
    return found | {"perplexity": np.array([perplexity(base, (adapter,), rows[:SCORED], config.token_budget, world)])}


def preference(config: RMConfig, world: World) -> Found:
    """Give loss and gradient of two batches, and the scores of pairs, by the reward model that has been made."""
    compute = choose(config.compute_form, config.compute_dtype)
    scorer = load_scorer(open_artifact(config.out), compute=compute, token_budget=config.token_budget)
    pairs = encode_pairs(open_artifact(config.data).read_jsonl("pairs_train"), scorer.resident, config.max_seq_length)
    adapter = moved(scorer.resident.maps, config, 7)
    now = {**adapter.params, **{objective.HEAD + name: value for name, value in scorer.head.items()}}
    terms = {"margin": config.margin, "centering": config.centering}
    gradient = objective.make_gradient(scorer.resident, adapter.scale, scorer.head, **terms, compiled=False)
    found = Found()
    for count in (uneven(config.batch_size), 1):
        loss, grads = objective.accumulate(gradient, now, pairs.kept[:count], config.token_budget, world)
        if not config.centering:
            del grads[objective.HEAD + "bias"]  # both answers of a pair share it: 0, and what is left is rounding
        found |= {f"{count} loss": np.array([loss]), **named(f"{count} gradient", grads)}
    chosen, rejected = score_pairs(scorer, pairs.kept[:SCORED], world)
    return found | {"chosen": chosen, "rejected": rejected}


def learning(config: RLConfig, world: World) -> Found:
    """Give an iteration of PPO or GRPO: its answers, what is made of them, what is decided, and its gradients."""
    ready = prepare(config, *(open_artifact(path) for path in (config.sft, config.rm, config.data)), world=world)
    method, maps = ready.method, ready.resident.maps
    params = {**ready.state.params, **{f"actor.{k}": v for k, v in moved(maps, config, 6, size=0.05).params.items()}}
    prompts = ready.rows.train[: uneven(config.batch_size)]
    prompts.append(prompts[0])  # the same again: its answers are others
    actor, draw = actor_adapter(params, config), Draw(config.seed, 3)
    with_them = (ready.resident, actor, ready.scorer, prompts, ready.config)
    rollout = collect(*with_them, draw=draw, answers=method.answers, world=world)
    facts = rollout_facts(rollout)
    experience = method.experience(rollout, params, kl_coef=0.05)
    decision = control(config.controller, Control(), facts["kl"], config.targets[0])
    grads, measured = rl_gradient(params, experience, range(len(rollout.answers)), method, ready.config, world)
    width = config.max_seq_length
    return {
        "answers": np.array([[*a.tokens.ids, *[-1] * (width - len(a.tokens.ids))] for a in rollout.answers]),
        "truncated": rollout.truncated_B,
        "scores": rollout.scores_B,
        "logprobs": np.array(rollout.logprobs_BT),
        "reference": np.array(rollout.ref_logprobs_BT),
        "kl": np.array(rollout.kl_BT),
        "advantages": np.array(experience.advantages_BT),
        "returns": np.array(experience.returns_BT),
        "facts": np.array([facts[name] for name in sorted(facts)]),
        "memory": np.array(method.memory().get("normalizer", [])),
        "decision": np.array([decision.lr_scale, decision.kl_coef, decision.shrink, decision.stop, decision.actions]),
        "measured": np.array([measured[name] for name in sorted(measured)]),
        **named("gradient", grads),
    }


def moved(
    maps: dict[str, AdaptedLinear], config: SFTConfig | RMConfig | RLConfig, seed: int, size: float = 0.2
) -> Adapter:
    """Give an adapter of the configured shape that changes something."""
    spec = LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers, config.lora_targets)
    return random_adapter(maps, seed, spec, size)


def uneven(rows: int) -> int:
    """Give an odd number of rows near to this one, so that two processes get parts of different size."""
    return (rows - 1) | 1


def named(prefix: str, arrays: Params) -> Found:
    """Give arrays under a prefix."""
    return {f"{prefix} {name}": np.array(array) for name, array in arrays.items()}


def apart(ones: Found, others: Found, kind: str) -> float:
    """Give the largest difference of a training's gradients, of each tensor relative to its largest element."""
    names = [name for name in ones if name.startswith(f"{kind} ") and " gradient " in name]
    return max(float(np.abs(others[name] - ones[name]).max() / np.abs(ones[name]).max()) for name in names)


if __name__ == "__main__":
    with connected() as here:
        settings = Trainings.model_validate_json(Path(sys.argv[1]).read_text())
        np.savez(Path(sys.argv[2]) / f"{here.rank}.npz", **measure(settings, here))
