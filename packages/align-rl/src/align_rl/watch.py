"""The numeric guard of an RL run: what is measured on a row once something was not finite, and what is left out then.

Rows are answers, named by their prompt's id and which of its answers they are. One whose reward, KL or value is not
finite leaves the rollout before advantages are made of it: its group's baseline is that of the others, and a group in
which fewer than two remain leaves too. One whose loss or gradient is not finite leaves the iteration's minibatches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from align_contracts.errors import DivergedError, NonFiniteError
from align_mlx.adapters import Adapter, Params
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.guard import Figures, Guard, Scene, base_weights, largest_logit, norm, require
from align_mlx.logprobs import policy_stats
from align_mlx.prefix import states
from align_mlx.reward import Scorer
from align_mlx.rollout import Prompt
from align_mlx.train_state import TrainState
from align_rl.config import RLConfig
from align_rl.measures import rollout_facts
from align_rl.methods.actor import actor_adapter
from align_rl.methods.base import Experience, Method
from align_rl.rollout import Rollout


@dataclass(frozen=True)
class Watch:
    """The guard of a run, and what it needs to name and measure rows.

    Attributes:
        guard: decides what happens.
        method, scorer, config: as in the loop.
        ids: prompt ids by prompt number; a number stands for itself where it is not there.
    """

    guard: Guard
    method: Method
    scorer: Scorer
    config: RLConfig
    ids: Mapping[int, str]

    def iteration(self, state: TrainState, prompts: Sequence[Prompt]) -> "Iteration":
        """Watch an iteration that answers these prompts."""
        return Iteration(self, state, state.iteration + 1, self.names(prompts, self.method.answers))

    def evaluation(self, state: TrainState, prompts: Sequence[Prompt]) -> "Iteration":
        """Watch an evaluation point, at which nothing is left out."""
        return Iteration(self, state, state.iteration, self.names(prompts, 1), learns=False)

    def names(self, prompts: Sequence[Prompt], answers: int) -> list[dict[str, Any]]:
        """Name the rows of a rollout."""
        ids = [self.ids.get(prompt.number, str(prompt.number)) for prompt in prompts]
        return [{"id": name, "answer": k} for name in ids for k in range(answers)]


@dataclass
class Iteration:
    """One iteration under watch.

    Attributes:
        watch: the run's.
        state: the state at its start; moved on by the updates.
        step: the iteration, from 1.
        names: the rows of the rollout that are still in it.
        settings: numbers for a diagnosis: target, learning rate, coefficient, as far as they are known.
        learns: whether rows may be left out.
    """

    watch: Watch
    state: TrainState
    step: int
    names: list[dict[str, Any]]
    settings: dict[str, float] | None = None
    learns: bool = True

    def rollout(self, rollout: Rollout) -> tuple[Rollout, dict[str, float]]:
        """Give a rollout whose reward and KL are finite, and its facts.

        Raises:
            DivergedError: they are not, and it is not for single rows that may be left out.
        """
        facts = rollout_facts(rollout)
        try:
            require(reward=facts["reward_mean"], KL=facts["kl"])
            require(**{name: value for name, value in facts.items() if name not in ("reward_mean", "kl")})
        except NonFiniteError as error:
            phase = "rollout" if self.learns else "evaluation"
            return self.rollout(self._without(error, phase, rollout, self._answer_probe(rollout)))
        return rollout, facts

    def experience(self, make: Callable[[Rollout], Experience], rollout: Rollout) -> tuple[Rollout, Experience]:
        """Make experience of a rollout; of less of it where a critic's values are not finite on single rows.

        Raises:
            DivergedError: as of `rollout`.
        """
        method = self.watch.method
        before = method.memory()
        experience = make(rollout)
        try:
            require(**experience.facts)
        except NonFiniteError as error:
            method.recall(before)
            values_BT = np.abs(np.array(experience.old_values_BT))
            answers = self._answer_probe(rollout)
            rollout = self._without(
                error, "experience", rollout, lambda i: {**answers(i), "largest_value": float(values_BT[i].max())}
            )
            return self.experience(make, rollout)
        return rollout, experience

    def minibatch(
        self, error: NonFiniteError, experience: Experience, index: Sequence[int], grads: Params
    ) -> list[int]:
        """Give the rows of a minibatch whose own loss and gradient are finite.

        Raises:
            DivergedError: as of `rollout`.
        """
        minibatch = experience.part(index)
        weights_BT = self.watch.method.weights(minibatch)
        config, method = self.watch.config, self.watch.method

        def probe(i: int) -> Figures:
            part = minibatch.part([i])
            figures: Figures = {"tokens": len(part.rows[0].response)}
            parts_grads: Params = {}
            for prefixes, loss in method.losses.items():
                own = {k: v for k, v in self.state.params.items() if k.startswith(prefixes)}
                (value, _), some = mx.value_and_grad(loss)(own, part, weights_BT[i : i + 1, : part.learn_BT.shape[1]])
                figures["loss"] = figures.get("loss", 0.0) + float(value.item())
                parts_grads |= some
            actor = actor_adapter(self.state.params, config)
            stats = policy_stats(method.resident, (actor,), part.batch, temperature=config.temperature, gradient=False)
            log_ratio_BT = (stats.logprobs_BT - part.old_logprobs_BT) * part.batch.mask_BT
            figures["gradient_norm"] = norm(parts_grads)
            figures["largest_log_ratio"] = float(mx.abs(log_ratio_BT).max().item())
            return {**figures, "largest_logit": self._largest_logit(minibatch.rows[i], actor)}

        kept = self._survivors(error, "update", [self.names[i] for i in index], probe, grads)
        return [index[i] for i in kept]

    def written(self, rows: Sequence[Tokens], **quantities: float) -> None:
        """Require what was measured on written answers to be finite.

        Raises:
            DivergedError: it is not; the diagnosis has the answers by their place.
        """
        try:
            require(**quantities)
        except NonFiniteError as error:
            resident, actor = self.watch.method.resident, actor_adapter(self.state.params, self.watch.config)

            def probe(i: int) -> Figures:
                stats = policy_stats(resident, (actor,), pad([rows[i]], share=False), gradient=False)
                loss = -float(stats.logprobs_BT.sum().item()) / len(rows[i].response)
                largest = self._largest_logit(rows[i], actor)
                return {"tokens": len(rows[i].response), "loss": loss, "largest_logit": largest}

            names = [{"id": f"written validation answer {i + 1}"} for i in range(len(rows))]
            raise self.watch.guard.stop(error, self._scene("evaluation", names, probe)) from error

    def _answer_probe(self, rollout: Rollout) -> Callable[[int], Figures]:
        actor = actor_adapter(self.state.params, self.watch.config)
        masked = (rollout.logprobs_BT - rollout.ref_logprobs_BT, rollout.kl_BT)
        log_ratio_BT, kl_BT = (np.array(array_BT) for array_BT in masked)

        def probe(i: int) -> Figures:
            tokens = len(rollout.answers[i].tokens.response)
            return {
                "tokens": tokens,
                "reward": float(rollout.scores_B[i]),
                "kl": float(kl_BT[i, :tokens].mean()),
                "largest_log_ratio": float(np.abs(log_ratio_BT[i, :tokens]).max()),
                "largest_logit": self._largest_logit(rollout.answers[i].tokens, actor),
            }

        return probe

    def _largest_logit(self, row: Tokens, actor: Adapter) -> float:
        resident, batch = self.watch.method.resident, pad([row], share=False)
        return largest_logit(resident, states(resident, batch, (actor,))[:, : len(row.response)])

    def _without(self, error: NonFiniteError, phase: str, rollout: Rollout, probe: Callable[[int], Figures]) -> Rollout:
        """Give the rollout without the rows that are to blame, and without answers left alone in their group."""
        kept = self._survivors(error, phase, self.names, probe)
        if self.watch.method.answers > 1:
            prompts, counts = np.unique(rollout.prompts[kept], return_counts=True)
            kept = [i for i in kept if rollout.prompts[i] in prompts[counts > 1]]
        if not kept:
            alone = self.watch.method.answers == 1
            left = "answer is left" if alone else "prompt has two answers left"
            do = "Every one was left out; diagnosis.json names them" if alone else "Ask for more answers (--K)"
            raise DivergedError(f"in iteration {self.step} no {left}", do=do) from error
        self.names = [self.names[i] for i in kept]
        return rollout.part(kept)

    def _survivors(
        self,
        error: NonFiniteError,
        phase: str,
        names: Sequence[Mapping[str, Any]],
        probe: Callable[[int], Figures],
        grads: Params | None = None,
    ) -> list[int]:
        return self.watch.guard.survivors(error, self._scene(phase, names, probe, grads))

    def _scene(
        self,
        phase: str,
        names: Sequence[Mapping[str, Any]],
        probe: Callable[[int], Figures],
        grads: Params | None = None,
    ) -> Scene:
        scorer, resident = self.watch.scorer, self.watch.method.resident
        weights: dict[str, Mapping[str, mx.array]] = {"reward model": {**scorer.adapter.params, **scorer.head}}
        if scorer.resident is not resident:
            weights |= {f"reward model's {name}": arrays for name, arrays in base_weights(scorer.resident).items()}
        return Scene(
            self.step,
            phase,
            self.state,
            names,
            probe,
            weights,
            grads,
            self.settings or {},
            unit="iteration",
            learns=self.learns,
        )
