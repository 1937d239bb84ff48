"""The pre-training of the embedded base, in one visible loop."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.gemma import Model

from align_contracts import Draft, signals
from align_contracts.errors import ConfigError
from align_contracts.space import require_space
from align_mlx import blas, liveness
from align_mlx.guard import Figures, Guard, Scene, left_out, norm, require
from align_mlx.space import training_parts
from align_mlx.steps import learning_rate, spent
from align_mlx.train_state import TrainState
from align_mlx.unfinished import Run
from align_sft.config import BaseConfig
from align_sft.corpus import Lines, batches, padded
from align_sft.crew import Crew
from align_sft.embedded import next_token_loss

RECENT = 50
"""Steps whose mean loss is the run's result."""


@dataclass(frozen=True)
class Pretrainer:
    """What a step needs.

    Attributes:
        config: the settings.
        lines: the corpus.
        crew: computes gradients.
        state: all weights, optimizer and memory; moved on in place.
        guard: decides what happens when a number is not finite.
    """

    config: BaseConfig
    lines: Lines
    crew: Crew
    state: TrainState
    guard: Guard

    def step(self, numbers: Sequence[int], rate: float) -> dict[str, float | None]:
        """Take an optimizer step on some lines at a learning rate.

        Returns:
            loss (nats a token), learning_rate, gradient_norm and tokens (those predicted); the first and the third are
            None where all lines were left out.

        Raises:
            DivergedError: a number is not finite, or a tensor gets no gradient.
            IncompleteError: a helping process has ended.
        """
        take, scene = partial(self._take, rate), partial(self._scene, rate)
        return self.guard.step(numbers, self.state, take, scene)

    def _take(self, rate: float, numbers: Sequence[int]) -> dict[str, float | None]:
        signals.check()
        if not numbers:
            return {"loss": None, "learning_rate": rate, "gradient_norm": None, "tokens": 0}
        value, grads = self.crew.gradient(self.state.params, *padded(self.lines, numbers))
        loss = float(value.item())
        require(loss=loss)
        found = self.state.update(grads, rate, self.config.max_grad_norm)
        liveness.watch(self.state, grads, rate)
        tokens = sum(len(self.lines[i]) - 1 for i in numbers)
        return {"loss": loss, "learning_rate": rate, "gradient_norm": found, "tokens": tokens}

    def _scene(self, rate: float, numbers: Sequence[int]) -> Scene:
        state, names = self.state, [{"id": f"line {i + 1}", "row": i} for i in numbers]

        def probe(place: int) -> Figures:
            value, grads = self.crew.gradient(state.params, *padded(self.lines, [numbers[place]]))
            tokens = len(self.lines[numbers[place]]) - 1
            return {"tokens": tokens, "loss": float(value.item()), "gradient_norm": norm(grads)}

        _, grads = self.crew.gradient(state.params, *padded(self.lines, numbers))
        return Scene(state.iteration + 1, "gradient", state, names, probe, {}, grads, {"learning_rate": rate})


def pretrain(model: Model, lines: Lines, config: BaseConfig, draft: Draft, run: Run) -> None:
    """Run the training loop; the model is changed in place.

    Args:
        model: an untrained model in fp32.
        lines: the corpus, as token ids.
        config: steps, batch, processes, learning rate, seed.
        draft: where metrics and log go.
        run: where log and state are kept meanwhile.

    Raises:
        ConfigError: the corpus is empty.
        DivergedError: a number is not finite, and a diagnosis in the run folder names the lines; or no gradient reached
            a tensor.
        IncompleteError: a helping process has ended.
        InterruptedRun: a signal asked for a stop.
    """
    if not lines:
        raise ConfigError("the corpus is empty", expected="lines of text to pre-train on")
    state = TrainState.start(dict(tree_flatten(model.parameters())), weight_decay=config.weight_decay)
    state.memory = {"losses": [], "tokens": 0, "seconds": 0.0, "peak_memory_bytes": 0}
    run.begin(state, config.steps)
    require_space(config.out, training_parts(state, config, made="the weights"), there=run.folder)
    guard = Guard("base", run.folder, config.skip_nonfinite_rows, None)
    drawn = islice(batches(lines, config.batch_tokens, mx.random.key(config.seed)), state.iteration, None)
    mx.reset_peak_memory()
    memory = state.memory
    crew = Crew(model, partial(Model, model.args), next_token_loss, config.processes, fresh=state.iteration == 0)
    pretrainer = Pretrainer(config, lines, crew, state, guard)
    with blas.shared(config.processes), crew:
        while state.iteration < config.steps:
            began, step = time.monotonic(), state.iteration
            rate = learning_rate(config.learning_rate, step, config.warmup_steps, config.steps, "cosine")
            facts = pretrainer.step(next(drawn), rate)
            state.iteration += 1
            took = spent(memory, began)
            if facts["loss"] is not None:
                memory["losses"] = [*memory["losses"], facts["loss"]][-RECENT:]
            memory["tokens"] += facts["tokens"]
            row = {
                "method": "base",
                "seed": config.seed,
                "steps": config.steps,
                "step": state.iteration,
                **facts,
                "skipped_rows": len(left_out(state)),
                "active_memory_bytes": mx.get_active_memory(),
                **took,
            }
            run.log("train.jsonl", row)
            run.reached(state)
            run.meter.advance(loss=facts["loss"])
    model.update(tree_unflatten(list(state.params.items())))
    run.hand_over(draft, "train.jsonl", role="log", volatile=True)
    report(config, state, draft)


def report(config: BaseConfig, state: TrainState, draft: Draft) -> None:
    """Write the metrics of a finished run, and what it proved."""
    memory, skipped, certificate = state.memory, left_out(state), liveness.certificate(state)
    draft.extensions["certificate"] = certificate.model_dump(mode="json")
    if skipped:
        draft.extensions["skipped_rows"] = skipped
    if losses := memory["losses"]:
        draft.metric("pretraining_loss", sum(losses) / len(losses), step=config.steps, n=len(losses))
    draft.metric("tokens", memory["tokens"])
    draft.metric("skipped_rows", len(skipped))
    draft.metric("training_seconds", memory["seconds"])
    draft.metric("peak_memory_bytes", memory["peak_memory_bytes"])
    if not config.quiet:
        print(liveness.sentence(certificate), file=sys.stderr)
