"""The numeric guard: what happens when a number of training is not finite.

The loops look at numbers that they read anyway (loss, reward, KL, the gradient's norm), so a run that is well pays
nothing. Only when one of them is NaN or infinite are the rows of the batch computed again, one by one, and the weights
searched. Then either the run stops with a diagnosis on disk, and what was learned before stands; or, where the user
allowed it, single rows whose own numbers are not finite are left out and listed, and the step is taken without them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from align_contracts.errors import DivergedError, NonFiniteError
from align_mlx import diagnosis
from align_mlx.adapters import Params
from align_mlx.finite import Broken, broken, listed
from align_mlx.resident import Resident
from align_mlx.softmax import after
from align_mlx.train_state import TrainState

Figures = dict[str, float]
"""What is measured on one row: tokens, loss, largest_logit, … by name."""
SKIPPED = "skipped_rows"
"""Where the rows left out so far stand in `TrainState.memory`."""
TOKENS = 64
"""Tokens whose logits exist at the same time in a diagnosis."""


@dataclass(frozen=True)
class Scene:
    """What a step was doing when a number was not finite.

    Attributes:
        step: the step or iteration, from 1.
        phase: the part of it, such as ``gradient`` or ``rollout``.
        state: the state, as it was before the number.
        names: what to call each row of the batch in a diagnosis: its id, and what else tells it from others.
        probe: measures one row again, by its place; called only after something was found.
        weights: every array that took part besides the state's own, by group: ``base``, ``reward model``, …
        grads: the gradients, where it came to that.
        settings: numbers worth seeing in the diagnosis, such as the learning rate.
        unit: what the run counts: ``step`` or ``iteration``.
        learns: whether rows could be left out at all: not where a policy is measured on rows that are fixed.
    """

    step: int
    phase: str
    state: TrainState
    names: Sequence[Mapping[str, Any]]
    probe: Callable[[int], Figures]
    weights: Mapping[str, Mapping[str, mx.array]] = field(default_factory=dict)
    grads: Params | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    unit: str = "step"
    learns: bool = True


@dataclass(frozen=True)
class Guard:
    """The guard of one run.

    Attributes:
        stage: whose run it is, for the diagnosis.
        folder: where ``diagnosis.json`` is written; None where a run leaves nothing behind (a trial).
        limit: most rows that may be left out over the whole run.
        resident: the base, for what it computes in.
        last_good: says where the last good state stands, for the diagnosis.
    """

    stage: str
    folder: Path | None
    limit: int
    resident: Resident
    last_good: Callable[[], str | None] = lambda: None

    def survivors(self, error: NonFiniteError, scene: Scene) -> list[int]:
        """Give the places of the rows to go on with, after the others have been noted in the state's memory.

        Args:
            error: what was found.
            scene: where.

        Raises:
            DivergedError: the run has to stop: nothing may be left out (any more), the cause is no single row, or no
                row would remain. The diagnosis has been written, and the message names it.
        """
        spoilt = self._spoilt_weights(scene)
        figures = [scene.probe(i) for i in range(len(scene.names))]
        bad = [i for i, row in enumerate(figures) if not all(map(math.isfinite, row.values()))]
        skipped = scene.state.memory.get(SKIPPED, [])
        if scene.learns and not spoilt and 0 < len(bad) < len(figures) and len(skipped) + len(bad) <= self.limit:
            noted = [{scene.unit: scene.step, **scene.names[i]} for i in bad]
            scene.state.memory[SKIPPED] = [*skipped, *noted]
            if self.folder is not None:
                diagnosis.write(self.folder, self._record(error, scene, spoilt, figures, bad))
            return [i for i in range(len(figures)) if i not in bad]
        raise self._stop(error, scene, spoilt, figures, bad) from error

    def _spoilt_weights(self, scene: Scene) -> dict[str, list[Broken]]:
        """Search all weights: {group: tensors that are not finite}."""
        groups = {"trained": scene.state.params, "optimizer": scene.state.moments, **base_weights(self.resident)}
        found = {group: broken(arrays) for group, arrays in {**groups, **scene.weights}.items()}
        return {group: tensors for group, tensors in found.items() if tensors}

    def _record(
        self,
        error: NonFiniteError,
        scene: Scene,
        spoilt: Mapping[str, Sequence[Broken]],
        figures: Sequence[Figures],
        bad: Sequence[int],
    ) -> dict[str, Any]:
        first = [*bad, *(i for i in range(len(figures)) if i not in bad)]
        norms = {"parameters": diagnosis.norms(scene.state.params)}
        if scene.grads is not None:
            norms["gradients"] = diagnosis.norms(scene.grads)
        return {
            "stage": self.stage,
            scene.unit: scene.step,
            "phase": scene.phase,
            "not_finite": error.quantity,
            "value": error.got,
            "offending_rows": [dict(scene.names[i]) for i in bad],
            "rows": [{**scene.names[i], "offending": i in bad, **figures[i]} for i in first],
            "weights": [
                {"group": group, "tensor": t.name, "nan": t.nan, "inf": t.inf, "elements": t.size}
                for group, tensors in spoilt.items()
                for t in tensors
            ],
            "norms": norms,
            "settings": dict(scene.settings),
            "skipped_rows": scene.state.memory.get(SKIPPED, []),
            "last_good": {scene.unit: scene.step - 1, "saved_at": self.last_good()},
            "environment": diagnosis.environment(self.resident),
            "what_to_try": diagnosis.remedies(
                error.quantity, bool(spoilt), len(bad), len(figures), self.limit, self.resident
            ),
        }

    def _stop(
        self,
        error: NonFiniteError,
        scene: Scene,
        spoilt: Mapping[str, Sequence[Broken]],
        figures: Sequence[Figures],
        bad: Sequence[int],
    ) -> DivergedError:
        record = self._record(error, scene, spoilt, figures, bad)
        if spoilt:
            group, tensors = next(iter(spoilt.items()))
            culprit = f"weights of the {group}: {listed(tensors)}"
        elif bad:
            culprit = f"{len(bad)} of {len(figures)} rows: {listed(title(scene.names[i]) for i in bad)}"
        else:
            culprit = f"no single one of {len(figures)} rows; together they overflow"
        skipped = len(scene.state.memory.get(SKIPPED, []))
        over = f"; {skipped} rows had been left out before, of at most {self.limit}" if self.limit else ""
        told = f"Read {diagnosis.write(self.folder, record)}; " if self.folder is not None else ""
        return DivergedError(
            f"{error.what} at {scene.unit} {scene.step} ({scene.phase})",
            expected="finite numbers",
            got=f"{error.got}, from {culprit}{over}",
            do=f"{told}the state before this {scene.unit} stands. First: {record['what_to_try'][0]}",
        )


def title(name: Mapping[str, Any]) -> str:
    """Name a row in a message: its id, and which of several answers to it."""
    return str(name["id"]) + (f" (answer {name['answer']})" if "answer" in name else "")


def left_out(state: TrainState) -> list[dict[str, Any]]:
    """Give the rows that a run has left out so far."""
    return list(state.memory.get(SKIPPED, []))


def require(**quantities: float) -> None:
    """Raise NonFiniteError for the first quantity that is not finite; its name is written with spaces."""
    for name, value in quantities.items():
        if not math.isfinite(value):
            raise NonFiniteError(name.replace("_", " "), got=str(value))


def norm(grads: Params) -> float:
    """Give the joint norm of gradients, summed in fp32 as the clip does."""
    return float(mx.sqrt(sum((mx.square(grad).sum() for grad in grads.values()), mx.array(0.0))).item())


def largest_logit(resident: Resident, states_BSD: mx.array) -> float:
    """Give the largest |logit| behind hidden states of any rows; NaN if one is NaN."""
    states_ND, tops = states_BSD.reshape(-1, states_BSD.shape[-1]), [mx.array(0.0)]
    for start in range(0, states_ND.shape[0], TOKENS):
        part_ND = after(states_ND[start : start + TOKENS], tops[-1:])
        tops.append(mx.abs(resident.logits(part_ND)).max())
    return float(mx.stack(tops).max().item())


def base_weights(resident: Resident) -> dict[str, dict[str, mx.array]]:
    """Give a base's arrays, and those of the adapters that every role shares, as groups for a diagnosis."""
    groups = {"base": dict(tree_flatten(resident.model.parameters()))}
    for number, adapter in enumerate(resident.shared, start=1):
        groups[f"shared adapter {number}"] = adapter.params
    return groups
