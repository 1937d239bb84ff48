"""Optimizer steps and measurements of an SFT run, under the numeric guard."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from align_contracts.errors import NonFiniteError
from align_mlx import liveness
from align_mlx.adapters import Adapter, Params
from align_mlx.chat import Tokens
from align_mlx.guard import Guard, Scene, require
from align_mlx.perplexity import perplexity
from align_mlx.resident import Resident
from align_mlx.train_state import TrainState
from align_sft.config import TrainConfig
from align_sft.gradient import Gradient, accumulate
from align_sft.probe import make_probe
from align_sft.rows import Encoded


@dataclass(frozen=True)
class Learner:
    """What a step needs.

    Attributes:
        config: the settings, nothing left open.
        resident: the base.
        scale: the adapter's factor.
        gradient: as `make_gradient` gives it.
        state: adapter, optimizer and memory; moved on in place.
        guard: decides what happens when a number is not finite.
    """

    config: TrainConfig
    resident: Resident
    scale: float
    gradient: Gradient
    state: TrainState
    guard: Guard

    def step(self, data: Encoded, rows: Sequence[int], rate: float) -> dict[str, float | None]:
        """Take an optimizer step at a learning rate.

        Args:
            data: the training rows.
            rows: numbers of the rows drawn.
            rate: the learning rate.

        Returns:
            loss (nats a token), learning_rate, gradient_norm and tokens; the first and the third are None where all
            rows were left out.

        Raises:
            DivergedError: a number is not finite, or a tensor gets no gradient.
        """
        return self.guard.step(rows, self.state, partial(self._take, data, rate), partial(self._scene, data, rate))

    def perplexity(self, data: Encoded) -> float:
        """Give the perplexity of rows.

        Raises:
            DivergedError: it is not finite.
        """
        worn, budget = (Adapter(self.state.params, self.scale),), self.config.token_budget
        found = perplexity(self.resident, worn, data.tokens, budget, self.guard.world)
        try:
            require(perplexity=found)
        except NonFiniteError as error:
            raise self.guard.stop(error, self._scene(data, None, range(len(data.tokens)))) from error
        return found

    def _take(self, data: Encoded, rate: float, rows: Sequence[int]) -> dict[str, float | None]:
        if not rows:
            return {"loss": None, "learning_rate": rate, "gradient_norm": None, "tokens": 0}
        chosen = [data.tokens[i] for i in rows]
        loss, grads, tokens = self._gradient(chosen)
        require(loss=loss)
        norm = self.state.update(grads, rate, self.config.max_grad_norm)
        liveness.watch(self.state, grads, rate)
        return {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "tokens": tokens}

    def _scene(self, data: Encoded, rate: float | None, rows: Sequence[int]) -> Scene:
        state, chosen = self.state, [data.tokens[i] for i in rows]
        names = [{"id": data.ids[i], "row": i} for i in rows]
        probe = make_probe(self.resident, self.scale, state.params, chosen)
        if rate is None:
            return Scene(state.iteration, "validation", state, names, probe, learns=False)
        _, grads, _ = self._gradient(chosen)
        return Scene(state.iteration + 1, "gradient", state, names, probe, {}, grads, {"learning_rate": rate})

    def _gradient(self, chosen: Sequence[Tokens]) -> tuple[float, Params, int]:
        config, world = self.config, self.guard.world
        return accumulate(self.gradient, self.state.params, chosen, config.batch_size, config.token_budget, world)
