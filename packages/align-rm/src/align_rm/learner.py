"""Optimizer steps and measurements of a reward model's run, under the numeric guard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from align_contracts.errors import NonFiniteError
from align_mlx import liveness
from align_mlx.adapters import Params
from align_mlx.guard import Guard, Scene, require
from align_mlx.reward import Scorer
from align_mlx.train_state import TrainState
from align_rm.algorithms.bradley_terry import pairwise_accuracy
from align_rm.config import TrainConfig
from align_rm.objective import Gradient, accumulate
from align_rm.pairs import Pair, score_pairs
from align_rm.probe import make_probe


@dataclass(frozen=True)
class Learner:
    """What a step needs.

    Attributes:
        config: the settings, nothing left open.
        make: makes the gradient, see `make_gradient`; ``compiled=False`` for a single use.
        scorer: gives the model with the state's parameters.
        state: adapter, head, optimizer and memory; moved on in place.
        guard: decides what happens when a number is not finite.
    """

    config: TrainConfig
    make: Callable[..., Gradient]
    scorer: Callable[[], Scorer]
    state: TrainState
    guard: Guard

    @cached_property
    def gradient(self) -> Gradient:
        """The gradient, made once."""
        return self.make()

    def step(self, pairs: Sequence[Pair], rows: Sequence[int], rate: float) -> dict[str, float | None]:
        """Take an optimizer step at a learning rate.

        Args:
            pairs: the training pairs.
            rows: numbers of the pairs drawn.
            rate: the learning rate.

        Returns:
            loss (nats a pair), learning_rate and gradient_norm; the first and the last are None where all pairs were
            left out.

        Raises:
            DivergedError: a number is not finite, or a tensor gets no gradient.
        """
        return self.guard.step(rows, self.state, partial(self._take, pairs, rate), partial(self._scene, pairs, rate))

    def accuracy(self, pairs: Sequence[Pair]) -> float:
        """Give the pairwise accuracy.

        Raises:
            DivergedError: a score is not finite.
        """
        try:
            chosen, rejected = score_pairs(self.scorer(), pairs, self.guard.world)
        except NonFiniteError as error:
            raise self.guard.stop(error, self._scene(pairs, None, range(len(pairs)))) from error
        return pairwise_accuracy(chosen - rejected)

    def _take(self, pairs: Sequence[Pair], rate: float, rows: Sequence[int]) -> dict[str, float | None]:
        if not rows:
            return {"loss": None, "learning_rate": rate, "gradient_norm": None}
        chosen = [pairs[i] for i in rows]
        loss, grads = self._gradient(chosen)
        require(loss=loss)
        norm = self.state.update(grads, rate, self.config.max_grad_norm)
        liveness.watch(self.state, grads, rate)
        return {"loss": loss, "learning_rate": rate, "gradient_norm": norm}

    def _scene(self, pairs: Sequence[Pair], rate: float | None, rows: Sequence[int]) -> Scene:
        state, chosen = self.state, [pairs[i] for i in rows]
        names = [{"id": pairs[i].prompt_id, "row": i} for i in rows]
        probe = make_probe(self.make(compiled=False), state.params, self.scorer(), chosen)
        if rate is None:
            return Scene(state.iteration, "validation", state, names, probe, learns=False)
        _, grads = self._gradient(chosen)
        return Scene(state.iteration + 1, "gradient", state, names, probe, {}, grads, {"learning_rate": rate})

    def _gradient(self, chosen: Sequence[Pair]) -> tuple[float, Params]:
        budget, world = self.config.token_budget, self.guard.world
        return accumulate(self.gradient, self.state.params, chosen, budget, world)
