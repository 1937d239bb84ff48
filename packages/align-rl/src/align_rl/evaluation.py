"""Evaluation points: the policy measured on fixed validation prompts, and what is kept of it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts.selection import Point, better
from align_mlx import adapters as lora
from align_mlx.chat import Tokens
from align_mlx.perplexity import perplexity
from align_mlx.progress import doing
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.rollout import Draw, Prompt
from align_mlx.train_state import TrainState
from align_rl.algorithms.controller import Control
from align_rl.config import RLConfig
from align_rl.kept import answer_rows, write_rows
from align_rl.methods.actor import actor_adapter, pull_back
from align_rl.methods.base import Method
from align_rl.rollout import Rollout, collect
from align_rl.watch import Watch

EVALUATION_DRAW = 1 << 40
"""The iteration number of evaluation draws: far from training's, and the same at every point."""
File = Callable[[str], Path]
"""Gives where to write a file of this name; its folder is there."""
PULLBACKS = 4
"""How often an evaluation point above its target is pulled back and measured again."""


@dataclass
class Evaluator:
    """Measures a policy and keeps what the study keeps of every evaluation point.

    Attributes:
        prompts: validation prompts, with their ids in `prompt_ids`.
        chosen: validation prompts with their chosen answers, for perplexity.
        file: gives where to write a file, ``eval/0050.safetensors`` or ``eval/0050.jsonl``.
        watch: the guard; validation rows are never left out.
    """

    method: Method
    resident: Resident
    scorer: Scorer
    prompts: Sequence[Prompt]
    prompt_ids: Sequence[str]
    chosen: Sequence[Tokens]
    config: RLConfig
    file: File
    watch: Watch

    def __call__(self, state: TrainState, target: float) -> dict[str, Any]:
        """Measure the state's policy, keep its adapter and responses, and let the state remember it if it is the best.

        The state's memory has all records, ``curve``, and the best `Point`, ``best``; its parameters are `state.best`.
        With controller ``pullback`` the policy is first pulled back under the target; each time counts as an action.
        """
        first = state.iteration == 0
        doing("measuring SFT's answers" if first else "measuring the policy", aloud=first)
        rollout, facts = self._answer(state)
        if self.config.controller == "pullback" and state.iteration > 0:
            for _ in range(PULLBACKS):
                if (kl := facts["kl"]) <= target:
                    break
                pull_back(state, 0.98 * (target / kl) ** 0.5)
                decision = state.memory.get("control", asdict(Control()))
                state.memory["control"] = {**decision, "actions": decision["actions"] + 1}
                rollout, facts = self._answer(state)
        record = {"iteration": state.iteration, **facts, "target_kl": target, "perplexity": self._perplexity(state)}
        self._keep(state, rollout, state.iteration)
        state.memory["curve"] = [*state.memory.get("curve", []), record]
        point = Point(state.iteration, record["kl"], record["perplexity"], record["reward_mean"], target)
        best = state.memory.get("best")
        if state.iteration > 0 and better(self.config.selection, point, Point(**best) if best else None):
            state.memory["best"], state.best = asdict(point), state.params
        return record

    def _answer(self, state: TrainState) -> tuple[Rollout, dict[str, float]]:
        actor, draw = actor_adapter(state.params, self.config), Draw(self.config.seed, EVALUATION_DRAW)
        with_them, world = (self.resident, actor, self.scorer, self.prompts, self.config), self.method.world
        rollout = collect(*with_them, draw=draw, answers=1, world=world)
        return self.watch.evaluation(state, self.prompts).rollout(rollout)

    def _perplexity(self, state: TrainState) -> float:
        actor = actor_adapter(state.params, self.config)
        found = perplexity(self.resident, (actor,), self.chosen, self.config.token_budget, self.method.world)
        self.watch.evaluation(state, self.prompts).written(self.chosen, perplexity=found)
        return found

    def _keep(self, state: TrainState, rollout: Rollout, iteration: int) -> None:
        actor = actor_adapter(state.params, self.config)
        lora.save(actor, self.file(f"eval/{iteration:04d}.safetensors"), dtype=mx.bfloat16)
        rows = answer_rows(self.resident, rollout, self.prompt_ids, self.method.diagnose(rollout, state.params))
        write_rows(self.file(f"eval/{iteration:04d}.jsonl"), rows)
