"""Scoring answers with a Bradley-Terry reward model: one scalar read off the last real token."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from align_contracts import Artifact, signals
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, Params
from align_mlx.batching import by_length, own_rows, pad
from align_mlx.chat import Tokens, encode_turn
from align_mlx.compute import Compute, pass_tokens
from align_mlx.loading import load_base, load_policy
from align_mlx.prefix import states
from align_mlx.progress import doing
from align_mlx.resident import Resident
from align_mlx.world import ALONE, World


def head_scores(states_BSD: mx.array, response_lengths_B: mx.array, head: Params) -> mx.array:
    """Apply the scalar head to the state that has read the last real token.

    Args:
        states_BSD: what `align_mlx.prefix.states` gave for the rows.
        response_lengths_B: int32 number of response tokens of each.
        head: ``weight`` [1, D] and ``bias`` [1], fp32.

    Returns:
        fp32 scores [B].

    Raises:
        ValueError: a shape is another one: lengths of [1] would give every row the score of one length.
    """
    rows, _, width = states_BSD.shape
    shapes = (response_lengths_B.shape, head["weight"].shape, head["bias"].shape)
    if shapes != ((rows,), (1, width), (1,)):
        raise ValueError(f"lengths, weight and bias: expected {((rows,), (1, width), (1,))}, got {shapes}")
    last_BD = mx.take_along_axis(states_BSD, response_lengths_B[:, None, None], axis=1)[:, 0]
    return (last_BD.astype(mx.float32) @ head["weight"].T + head["bias"])[:, 0]


@dataclass(frozen=True)
class Calibration:
    """Mean and standard deviation of raw scores on reference answers: (raw − mean) / std has mean 0, std 1."""

    mean: float = 0.0
    std: float = 1.0

    def apply(self, raw: np.ndarray, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
        """Map raw scores onto the scale on which reference answers have this `mean` and `std`."""
        return (raw - self.mean) / self.std * std + mean


@dataclass(frozen=True)
class Scorer:
    """A reward model over a resident base."""

    resident: Resident
    adapter: Adapter
    head: Params
    calibration: Calibration = Calibration()
    token_budget: int = 0

    def score(self, rows: Sequence[Tokens], world: World = ALONE) -> np.ndarray:
        """Give raw scores fp64 [N] of token rows, batched by length; the order of rows does not matter.

        Args:
            rows: prompts with answers.
            world: the processes that share them; all get all scores.
        """
        mine = own_rows(rows, world)
        own, scores = [rows[i] for i in mine], np.zeros(len(mine))
        for group in by_length(own, self.token_budget or pass_tokens()):
            signals.check()
            batch = pad([own[i] for i in group])
            read = states(self.resident, batch, (self.adapter,))
            scores[group] = np.array(head_scores(read, batch.lengths_B, self.head))
        whole = np.zeros(len(rows))
        for places, part in world.gather_arrays("scores", [np.array(mine, np.int64), scores]):
            whole[places] = part
        return whole

    def score_texts(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Give raw scores of written answers."""
        base = self.resident
        turns = zip(prompts, responses, strict=True)
        return self.score([encode_turn(base.tokenizer, p, r, base.end_tokens) for p, r in turns]).tolist()


def load_scorer(
    rm: Artifact, resident: Resident | None = None, compute: Compute | None = None, *, token_budget: int = 0
) -> Scorer:
    """Load a reward model, over a base already in memory if it is the one the model was trained on.

    Args:
        rm: a reward_model artifact.
        resident: the base with the reward model's backbone (for backbone ``policy``: the SFT policy) loaded.
        compute: the compute form if the base has to be loaded.
        token_budget: most padded tokens of one forward pass; 0: what suits the machine.
    """
    doing("loading the reward model", aloud=True)
    details = rm.details
    if resident is None:
        policy = details.backbone == "policy"
        resident = load_policy(rm.input("policy"), compute) if policy else load_base(rm.input("base").path, compute)
    adapter, _ = lora.load(rm.file("adapter"))
    head = {k: v.astype(mx.float32) for k, v in mx.load(str(rm.file("head"))).items()}
    calibration = Calibration(details.calibration.mean, details.calibration.std)
    return Scorer(resident, adapter, head, calibration, token_budget)
