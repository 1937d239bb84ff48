"""The RL loop. PPO and GRPO share it: rollout → advantages → minibatch updates → controller → log → evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from align_contracts import signals
from align_contracts.errors import NonFiniteError
from align_mlx import liveness
from align_mlx.adapters import Params
from align_mlx.batching import by_length, own_rows
from align_mlx.guard import Guard, left_out, require
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.rollout import Draw, Prompt
from align_mlx.train_state import TrainState, warmup
from align_mlx.world import ALONE, World
from align_rl.algorithms.controller import Control, control, phased_target
from align_rl.algorithms.first_ratio import RATIO_TOLERANCE, first_ratio
from align_rl.config import RLConfig
from align_rl.measures import Clock, mean_of
from align_rl.methods.actor import ACTOR, LARGEST, RATIO_ERROR, actor_adapter, as_means, pull_back
from align_rl.methods.base import Experience, Method
from align_rl.rollout import Rollout, collect
from align_rl.watch import Watch

Record = dict[str, Any]
Keep = Callable[[int, Sequence[Prompt], Rollout, Experience], None]
"""Keeps something of the rollout that an iteration learned from."""
Spare = Callable[[NonFiniteError, Experience, Sequence[int], Params], list[int]]
"""Gives the rows of a minibatch to go on with when one of its numbers was not finite, or stops the run."""


def nothing(iteration: int, prompts: Sequence[Prompt], rollout: Rollout, experience: Experience) -> None:
    """Keep nothing."""


def stop(error: NonFiniteError, experience: Experience, index: Sequence[int], grads: Params) -> list[int]:
    """Leave nothing out."""
    raise error


def train(
    method: Method,
    resident: Resident,
    scorer: Scorer,
    prompts: list[Prompt],
    config: RLConfig,
    state: TrainState,
    *,
    evaluate: Callable[[TrainState, float], Record],
    log: Callable[[Record], None],
    keep: Keep = nothing,
    watch: Watch | None = None,
    reached: Callable[[TrainState], None] = lambda state: None,
) -> None:
    """Run the iterations that `state` has not done yet.

    Args:
        method: PPO or GRPO.
        resident: the base with the SFT adapter: the reference when it wears nothing more.
        scorer: the reward model over the same base.
        prompts: training prompts.
        config: the settings.
        state: parameters, optimizer and memory; moved on in place.
        evaluate: called with the state and the KL target at the start and every `eval_every` iterations.
        log: called with one record an iteration.
        keep: called before every evaluation but the first.
        watch: what happens when a number is not finite; none: the run stops, and no diagnosis is written.
        reached: called with the state whenever it is whole: a run that is interrupted goes on from there.

    Raises:
        DivergedError: a loss, gradient, reward, KL or weight was not finite (nothing non-finite was kept), an
            iteration's first ratio was not 1, or no gradient reached a trainable tensor.
    """
    watch = watch or Watch(Guard(method.name, None, 0, resident), method, scorer, config, {})
    world = method.world
    rate = warmup(config.learning_rate, config.warmup_iterations)
    decision = Control(**state.memory.get("control", {"kl_coef": penalty_start(config)}))
    if "method" in state.memory:
        method.recall(state.memory["method"])
    if state.iteration == 0 and not state.memory.get("curve"):
        evaluate(state, config.targets[0])
        reached(state)
    for iteration in range(state.iteration, config.num_iterations):
        clock = Clock()
        target = phased_target(config.targets, iteration, config.num_iterations)
        chosen = [prompts[i] for i in prompt_order(config.seed, iteration, config.batch_size, len(prompts))]
        with clock.phase("rollout"):
            actor = actor_adapter(state.params, config)
            draw = Draw(config.seed, iteration)
            watched = watch.iteration(state, chosen)
            collected = collect(resident, actor, scorer, chosen, config, draw=draw, answers=method.answers, world=world)
            rollout, facts = watched.rollout(collected)
        decision = control(config.controller, decision, facts["kl"], target)
        learning_rate = rate(iteration) * decision.lr_scale
        watched.settings = {"learning_rate": learning_rate, "kl_coef": decision.kl_coef, "target_kl": target}
        with clock.phase("experience"):
            learned = partial(method.experience, params=state.params, kl_coef=decision.kl_coef)
            rollout, experience = watched.experience(learned, rollout)
        with clock.phase("update"):
            spare = watched.minibatch
            updates = [] if decision.stop else update(method, experience, rollout, config, state, learning_rate, spare)
            pull_back(state, decision.shrink)
        state.iteration = iteration + 1
        state.memory |= {"control": asdict(decision), "method": method.memory()}
        record: Record = {"iteration": state.iteration, **facts, **experience.facts, **mean_of(updates)}
        record |= {"target_kl": target, "learning_rate": learning_rate, "updates": len(updates)}
        record |= {"kl_coef": decision.kl_coef, "shrink": decision.shrink, "skipped_rows": len(left_out(state))}
        if state.iteration % config.eval_every == 0 or state.iteration == config.num_iterations:
            keep(state.iteration, chosen, rollout, experience)
            with clock.phase("eval"):
                record["eval"] = evaluate(state, target)
            decision = Control(**state.memory["control"])  # pulling back before a measurement is an action too
        record["controller_actions"] = decision.actions
        log({**record, **clock.facts()})
        reached(state)


def update(
    method: Method,
    experience: Experience,
    rollout: Rollout,
    config: RLConfig,
    state: TrainState,
    learning_rate: float,
    spare: Spare = stop,
) -> list[dict[str, float]]:
    """Take the iteration's optimizer steps; give each step's facts.

    Rows that `spare` leaves out of a minibatch, because they are to blame for numbers that are not finite, take no part
    in those that follow either.
    """
    rate = rates(config, state.iteration, learning_rate)
    tolerance = RATIO_TOLERANCE[method.resident.compute.dtype]
    steps: list[dict[str, float]] = []
    gone: set[int] = set()
    for epoch in range(config.ppo_epochs):
        for dealt in minibatches(rollout, config, state.iteration, epoch):
            index = [i for i in dealt.tolist() if i not in gone]
            while index:
                grads, facts = accumulate(state.params, experience, index, method, config, method.world)
                try:
                    require(**facts)
                    proof = state.memory.get("first_ratio", {})
                    if not steps:  # the policy is still the one that sampled
                        proof = first_ratio(proof, facts[RATIO_ERROR], facts[LARGEST], tolerance, state.iteration)
                    facts["grad_norm"] = state.update(grads, rate, config.max_grad_norm)
                except NonFiniteError as error:
                    kept = spare(error, experience, index, grads)
                    gone |= set(index) - set(kept)
                    index = kept
                    continue
                state.memory["first_ratio"] = proof
                if liveness.seen(state).waiting and teaches(rollout, experience, index):
                    liveness.watch(state, grads, rate)
                steps.append(facts)
                break
    return steps


def teaches(rollout: Rollout, experience: Experience, index: Sequence[int]) -> bool:
    """Whether rewards differ, and some token of the minibatch is better or worse than expected."""
    place = mx.array(np.asarray(index))
    return bool(np.ptp(rollout.scores_B) > 0 and mx.any(experience.advantages_BT[place] != 0).item())


def accumulate(
    params: Params,
    experience: Experience,
    index: Sequence[int],
    method: Method,
    config: RLConfig,
    world: World = ALONE,
) -> tuple[Params, dict[str, float]]:
    """Sum gradients and facts of a minibatch over micro-batches and processes; the weights make the sum exact."""
    minibatch = experience.part(index)
    weights_BT = method.weights(minibatch)
    grads: Params = {}
    facts: dict[str, float] = {}
    mine = own_rows(minibatch.rows, world)
    for places in by_length([minibatch.rows[i] for i in mine], config.token_budget):
        signals.check()
        group = [mine[i] for i in places]
        part = minibatch.part(group)
        part_weights_BT = weights_BT[mx.array(group), : part.learn_BT.shape[1]]
        for prefixes, loss in method.losses.items():
            own = {k: v for k, v in params.items() if k.startswith(prefixes)}
            (value, parts), grad = mx.value_and_grad(loss)(own, part, part_weights_BT)
            grads |= {k: grads[k] + g if k in grads else g for k, g in grad.items()}
            mx.eval(grads, value, parts)  # before the next part of the loss begins, so that their peaks do not add up
            for name, fact in {"loss": value, **parts}.items():
                seen = facts.get(name, 0.0)
                facts[name] = float(np.maximum(seen, fact.item())) if name == LARGEST else seen + fact.item()
    return world.total(grads, params), as_means(world.sums("facts", facts, largest=LARGEST), weights_BT)


def minibatches(rollout: Rollout, config: RLConfig, iteration: int, epoch: int) -> Iterator[np.ndarray]:
    """Yield row indices of each minibatch: prompts are shuffled and dealt out, all answers of one stay together."""
    there = np.unique(rollout.prompts)
    order = np.random.default_rng([config.seed, iteration, epoch, 1]).permutation(there)
    for share in np.array_split(order, min(config.minibatches, len(there))):
        yield np.flatnonzero(np.isin(rollout.prompts, share))


def prompt_order(seed: int, iteration: int, batch_size: int, count: int) -> list[int]:
    """Give the training prompts of an iteration: each pass over them is a new permutation, none is left out."""
    order: list[int] = []
    for place in range(iteration * batch_size, (iteration + 1) * batch_size):
        epoch, offset = divmod(place, count)
        if not order or offset == 0:
            permutation = np.random.default_rng([seed, epoch, 2]).permutation(count)
        order.append(int(permutation[offset]))
    return order


def rates(config: RLConfig, iteration: int, learning_rate: float) -> dict[str, float]:
    """Give the learning rate of the actor and of everything else (PPO's critic); all 0 in the null control.

    A rate of the critic's own warms up as the actor's does; the KL controller leaves it alone.
    """
    if config.control == "null":
        return {"": 0.0}
    critic = getattr(config, "critic_learning_rate", None)
    if critic is not None:
        critic = warmup(critic, config.warmup_iterations)(iteration)
    if getattr(config, "value_coef", None) == 0:
        critic = 0.0  # without its loss the critic has no gradient: it waits, it is not dead
    waiting = iteration < getattr(config, "critic_warmup", 0)
    return {ACTOR: 0.0 if waiting else learning_rate, "": learning_rate if critic is None else critic}


def penalty_start(config: RLConfig) -> float:
    """Give the initial KL coefficient; 0 unless the controller penalises rewards."""
    return config.kl_coef if config.controller == "reward_penalty" else 0.0
