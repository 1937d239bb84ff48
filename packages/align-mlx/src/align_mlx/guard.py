"""The numeric guard: what happens when a number of training is not finite.

The loops look at numbers that they read anyway (loss, reward, KL, the gradient's norm), so a run that is well pays
nothing. Only when one of them is NaN or infinite are the rows of the batch computed again, one by one, and the weights
searched. Then either the run stops with a diagnosis on disk, and what was learned before stands; or, where the user
allowed it, single rows whose own numbers are not finite are left out and listed, and the step is taken without them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
from mlx.utils import tree_flatten

from align_contracts.errors import DivergedError, NonFiniteError
from align_mlx import diagnosis
from align_mlx.adapters import Params
from align_mlx.compute import Compute
from align_mlx.finite import Broken, broken, listed
from align_mlx.resident import Resident
from align_mlx.softmax import after
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World

Figures = dict[str, float]
"""What is measured on one row: tokens, loss, largest_logit, … by name."""
Taken = TypeVar("Taken")
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
class Findings:
    """What a search has found.

    Attributes:
        spoilt: tensors that are not finite, by group.
        figures: what each row gave by itself.
    """

    spoilt: Mapping[str, Sequence[Broken]]
    figures: Sequence[Figures]

    @property
    def bad(self) -> list[int]:
        """The places of the rows whose own numbers are not finite."""
        return [i for i, row in enumerate(self.figures) if not all(map(math.isfinite, row.values()))]


@dataclass(frozen=True)
class Guard:
    """The guard of one run.

    Attributes:
        stage: whose run it is, for the diagnosis.
        folder: the run folder, where ``diagnosis.json`` is written; None where a run leaves nothing behind (a trial).
        limit: most rows that may be left out over the whole run.
        resident: the base; None where there is none but what is trained, in fp32.
        world: the processes of the run, which search together and decide the same.
    """

    stage: str
    folder: Path | None
    limit: int
    resident: Resident | None
    world: World = ALONE

    def step(
        self,
        rows: Sequence[int],
        state: TrainState,
        take: Callable[[Sequence[int]], Taken],
        scene: Callable[[Sequence[int]], Scene],
    ) -> Taken:
        """Take a step on rows of the data, without those that the run has left out, now or before.

        Args:
            rows: numbers of the rows drawn; as ``row`` in the scene's names they tell which ones were left out.
            state: the state, whose memory knows the latter.
            take: takes the step on some of the rows, perhaps on none; raises NonFiniteError before it changes anything.
            scene: describes it.

        Raises:
            DivergedError: as of `survivors`.
        """
        gone = {row.get("row") for row in left_out(state)}
        rows = [row for row in rows if row not in gone]
        while True:
            try:
                return take(rows)
            except NonFiniteError as error:
                rows = [rows[i] for i in self.survivors(error, scene(rows))]

    def survivors(self, error: NonFiniteError, scene: Scene) -> list[int]:
        """Give the places of the rows to go on with, after the others have been noted in the state's memory.

        Args:
            error: what was found.
            scene: where.

        Raises:
            DivergedError: the run has to stop: nothing may be left out (any more), or the cause is no single row. The
                diagnosis has been written, and the message names it.
        """
        found = self._search(scene)
        skipped, bad = left_out(scene.state), found.bad
        if not (scene.learns and bad and not found.spoilt and len(skipped) + len(bad) <= self.limit):
            raise self._stopped(error, scene, found) from error
        scene.state.memory[SKIPPED] = [*skipped, *({scene.unit: scene.step, **scene.names[i]} for i in bad)]
        self._write(error, scene, found)
        return [i for i in range(len(found.figures)) if i not in bad]

    def stop(self, error: NonFiniteError, scene: Scene) -> DivergedError:
        """Search, write the diagnosis, and give the error that ends the run."""
        return self._stopped(error, scene, self._search(scene))

    def _search(self, scene: Scene) -> Findings:
        groups = {"trained": scene.state.params, "optimizer": scene.state.moments}
        groups |= base_weights(self.resident) if self.resident else {}
        found = {group: broken(arrays) for group, arrays in {**groups, **scene.weights}.items()}
        spoilt = {group: [asdict(tensor) for tensor in tensors] for group, tensors in found.items() if tensors}
        rows = [scene.probe(i) for i in self.world.share(range(len(scene.names)))]
        found_by = self.world.gather("diagnosis", [spoilt, rows])
        everywhere = {group: [Broken(**t) for t in tensors] for part, _ in found_by for group, tensors in part.items()}
        return Findings(everywhere, self.world.whole([part for _, part in found_by]))

    def _stopped(self, error: NonFiniteError, scene: Scene, found: Findings) -> DivergedError:
        file = self._write(error, scene, found)
        if found.spoilt:
            group, tensors = next(iter(found.spoilt.items()))
            culprit = f"weights of the {group}: {listed(tensors)}"
        elif found.bad:
            names = listed(title(scene.names[i]) for i in found.bad)
            culprit = f"{len(found.bad)} of {len(found.figures)} rows: {names}"
        else:
            culprit = f"no single one of {len(found.figures)} rows; together they overflow"
        skipped = len(left_out(scene.state))
        over = f"; {skipped} rows had been left out before, of at most {self.limit}" if self.limit else ""
        return DivergedError(
            f"{error.what} at {scene.unit} {scene.step} ({scene.phase})",
            expected="finite numbers",
            got=f"{error.got}, from {culprit}{over}",
            do=f"{f'Read {file}. ' if file else ''}Next: {self._advice(error, found)[0]}",
        )

    def _advice(self, error: NonFiniteError, found: Findings) -> list[str]:
        rows = len(found.bad), len(found.figures)
        return diagnosis.remedies(error.quantity, bool(found.spoilt), *rows, self.limit, self._compute)

    def _write(self, error: NonFiniteError, scene: Scene, found: Findings) -> Path | None:
        """Write the diagnosis, and give its path."""
        if self.folder is None:
            return None
        bad = found.bad
        norms = {"parameters": diagnosis.norms(scene.state.params)}
        if scene.grads is not None:
            norms["gradients"] = diagnosis.norms(scene.grads)
        record = {
            "stage": self.stage,
            scene.unit: scene.step,
            "phase": scene.phase,
            "not_finite": error.quantity,
            "value": error.got,
            "offending_rows": [dict(scene.names[i]) for i in bad],
            "rows": [
                {**scene.names[i], "offending": i in bad, **found.figures[i]}
                for i in sorted(range(len(found.figures)), key=lambda i: i not in bad)
            ],
            "weights": [
                {"group": group, "tensor": t.name, "nan": t.nan, "inf": t.inf, "elements": t.size}
                for group, tensors in found.spoilt.items()
                for t in tensors
            ],
            "norms": norms,
            "settings": dict(scene.settings),
            "skipped_rows": left_out(scene.state),
            "last_good": {scene.unit: scene.step - 1},
            "environment": diagnosis.environment(self._compute),
            "what_to_try": self._advice(error, found),
        }
        return diagnosis.write(self.folder, record)

    @property
    def _compute(self) -> Compute:
        return self.resident.compute if self.resident else Compute(mx.float32, dense=True)


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
