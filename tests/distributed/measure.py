"""Everything that processes compute together, on a fixed store: ``python -m distributed.measure STORE OUT``.

Each process writes what it knows, so that a test can hold them against each other and against one process alone.
"""

import sys
from pathlib import Path

import mlx.core as mx
import numpy as np

from align_contracts import open_artifact
from align_mlx.adapters import Params
from align_mlx.compute import Compute
from align_mlx.loading import load_base, load_policy
from align_mlx.perplexity import perplexity
from align_mlx.reward import Scorer, load_scorer
from align_mlx.rollout import Draw
from align_mlx.train_state import TrainState
from align_mlx.world import World, connected
from align_rl import data as rl_data
from align_rl.algorithms.controller import Control, control
from align_rl.loop import accumulate as rl_gradient
from align_rl.measures import rollout_facts
from align_rl.methods.actor import actor_adapter
from align_rl.methods.make import make_method
from align_rl.rollout import collect
from align_rm import objective
from align_rm.pairs import encode_pairs, score_pairs
from align_sft.gradient import accumulate, make_gradient
from align_sft.rows import encode_rows, read_rows
from distributed.world_of_toys import rl_config
from tiny.stores import random_adapter

Found = dict[str, np.ndarray]


def measure(store: Path, world: World) -> Found:
    """Give gradients, rollouts, experience and decisions by name."""
    compute, data = Compute(mx.float32, dense=True), open_artifact(store / "data")
    base, resident = load_base(store / "base", compute), load_policy(open_artifact(store / "sft"), compute)
    scorer = load_scorer(open_artifact(store / "rm"), resident, token_budget=48)
    found: Found = {}

    rows = encode_rows(read_rows(data, "chosen", "train"), base, 64).tokens
    adapter = random_adapter(base.maps, 5)
    gradient = make_gradient(base, adapter.scale, compiled=False)
    for count in (11, 1):  # with one row, one of two processes has none
        loss, grads, tokens = accumulate(gradient, adapter.params, rows[:count], 3, None, world)
        found |= {f"sft {count} loss": np.array([loss]), f"sft {count} tokens": np.array([tokens])}
        found |= named(f"sft {count} gradient", grads)
    found["perplexity"] = np.array([perplexity(base, (adapter,), rows, 64, world)])

    pairs = encode_pairs(data.read_jsonl("pairs_train"), resident, 64).kept
    now = {**scorer.adapter.params, **{objective.HEAD + name: value for name, value in scorer.head.items()}}
    settings = {"margin": 0.1, "centering": 0.01, "compiled": False}
    preference = objective.make_gradient(resident, scorer.adapter.scale, scorer.head, **settings)
    for count in (9, 1):
        loss, grads = objective.accumulate(preference, now, pairs[:count], 96, world)
        found |= {f"rm {count} loss": np.array([loss]), **named(f"rm {count} gradient", grads)}
    found["rm chosen"], found["rm rejected"] = score_pairs(scorer, pairs, world)

    for method in ("ppo", "grpo"):
        found |= {f"{method} {name}": array for name, array in learning(method, store, resident, scorer, world).items()}
    return found


def learning(kind: str, store: Path, resident: object, scorer: Scorer, world: World) -> Found:
    """Give an iteration of PPO or GRPO: its answers, what is made of them, what is decided, and its gradients."""
    config = rl_config(kind, store, store / "none", controller="lr", target_kl=(0.02,))
    method = make_method(config, resident, scorer, world)
    state = TrainState.start(method.params(mx.random.key(config.seed)))
    moving = {f"actor.{k}": v for k, v in random_adapter(resident.maps, 6, size=0.05).params.items()}
    state.params = {**state.params, **moving}
    prompts = rl_data.load(open_artifact(config.data), resident, config).train[:5]
    prompts.append(prompts[0])  # the same again: its answers are others
    actor = actor_adapter(state.params, config)
    draw = Draw(config.seed, 3)
    rollout = collect(resident, actor, scorer, prompts, config, draw=draw, answers=method.answers, world=world)
    facts = rollout_facts(rollout)
    experience = method.experience(rollout, state.params, kl_coef=0.05)
    decision = control(config.controller, Control(), facts["kl"], config.targets[0])
    grads, measured = rl_gradient(state.params, experience, range(len(rollout.answers)), method, config, world)
    return {
        "answers": np.array([[*a.tokens.ids, *[-1] * (40 - len(a.tokens.ids))] for a in rollout.answers]),
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


def named(prefix: str, arrays: Params) -> Found:
    """Give arrays under a prefix."""
    return {f"{prefix} {name}": np.array(array) for name, array in arrays.items()}


if __name__ == "__main__":
    with connected() as here:
        np.savez(Path(sys.argv[2]) / f"{here.rank}.npz", **measure(Path(sys.argv[1]), here))
