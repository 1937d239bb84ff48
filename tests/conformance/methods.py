"""PPO and GRPO on a specimen, and what the reference says about the same rollout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.reward import Calibration, Scorer
from align_mlx.rollout import Answer
from align_rl.rollout import Rollout
from conformance.reference import kl, logprobs, transformer
from conformance.reference.finite_differences import Arrays
from conformance.reference.transformer import Lora
from conformance.specimen import ENDS, Specimen, draw, draw_rows, padded

NOWHERE: dict[str, Any] = {name: Path(name) for name in ("sft", "rm", "data", "out")}
"""The paths that a config must have; the methods never look at them."""
LORA: dict[str, Any] = {"lora_rank": 2, "lora_alpha": 3.0, "lora_layers": 2}
SCALE = 1.5
"""alpha / rank of `LORA`."""


def make_scorer(model: Specimen, seed: int) -> Scorer:
    """Make a reward model over a specimen, with a calibration that is not the identity."""
    head = draw({"weight": np.zeros((1, 16)), "bias": np.zeros(1)}, seed, 0.5)
    return Scorer(model.resident, model.adapter(seed, size=0.2), head, Calibration(mean=0.4, std=1.7))


@dataclass(frozen=True)
class Scene:
    """A rollout whose old policy is not the one that learns, in the implementation's form and in the reference's.

    Attributes:
        rows: the answers' tokens, prompt by prompt.
        old, ref: log-probs of the policy that sampled and of the reference, an array an answer.
        scores: raw rewards.
        truncated: which answers were cut at the limit.
        rollout: the same for the implementation; its padding holds numbers that would show.
    """

    model: Specimen
    rows: list[Tokens]
    old: list[np.ndarray]
    ref: list[np.ndarray]
    scores: np.ndarray
    truncated: list[bool]
    rollout: Rollout


def make_scene(
    model: Specimen,
    actor: Arrays,
    prompts: Sequence[int],
    responses: Sequence[int],
    *,
    answers: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    noise: float = 0.4,
) -> Scene:
    """Draw answers of these lengths to prompts of these lengths; every third answer is cut at the limit.

    The old log-probs are the actor's plus noise, so that ratios lie on both sides of any clip; without it they are 1.
    """
    rng = np.random.default_rng(seed)
    asked = draw_rows(seed, prompts, [1] * len(prompts))
    said = draw_rows(seed + 1, [1] * len(responses), responses, ended=False)
    truncated = [i % 3 == 1 for i in range(len(said))]
    rows = [
        Tokens(asked[i // answers].prompt, one.response if cut else (*one.response[:-1], min(ENDS)))
        for i, (one, cut) in enumerate(zip(said, truncated, strict=True))
    ]
    lora = Lora(actor, SCALE)
    old = [x + rng.normal(0, noise, len(x)) for x in token_logprobs(model, rows, [lora], temperature)]
    ref = [x + rng.normal(0, 0.4, len(x)) for x in token_logprobs(model, rows, [], temperature)]
    scores, batch = rng.normal(0.4, 1.7, len(rows)), pad(rows)
    old, ref = ([x.astype(np.float32).astype(np.float64) for x in each] for each in (old, ref))
    width = batch.mask_BT.shape[1]
    rollout = Rollout(
        prompts=np.repeat(np.arange(len(prompts)), answers),
        answers=[Answer(row, truncated=cut) for row, cut in zip(rows, truncated, strict=True)],
        batch=batch,
        logprobs_BT=padded(old, width),
        ref_logprobs_BT=padded(ref, width),
        kl_BT=padded([kl.k3(p, q) for p, q in zip(old, ref, strict=True)], width, padding=9.0),
        scores_B=scores.copy(),
    )
    return Scene(model, rows, old, ref, scores, truncated, rollout)


def token_distributions(
    model: Specimen, rows: Sequence[Tokens], loras: Sequence[Lora], temperature: float = 1.0
) -> list[np.ndarray]:
    """log p [T, V] an answer."""
    return [logprobs.distributions(model.weights, model.config, r.prompt, r.response, loras, temperature) for r in rows]


def token_logprobs(
    model: Specimen, rows: Sequence[Tokens], loras: Sequence[Lora], temperature: float = 1.0
) -> list[np.ndarray]:
    """log p [T] an answer."""
    each = token_distributions(model, rows, loras, temperature)
    return [logprobs.of_response(d, r.response) for d, r in zip(each, rows, strict=True)]


def under(params: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Give the arrays under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}


def values(model: Specimen, rows: Sequence[Tokens], params: Arrays, scale: float) -> list[np.ndarray]:
    """V(s_t) [T] an answer, of the state before token t."""
    lora, head, found = Lora(under(params, "critic."), scale), under(params, "head."), []
    for row in rows:
        states = transformer.hidden(model.weights, model.config, row.ids, [lora])[len(row.prompt) - 1 : -1]
        found.append(states @ head["weight"][0] + head["bias"][0])
    return found


def k1_of(scene: Scene) -> list[np.ndarray]:
    """log π_old − log π_ref of each token."""
    return [kl.k1(p, q) for p, q in zip(scene.old, scene.ref, strict=True)]


def calibrated(scene: Scene, mean: float, penalty: float) -> np.ndarray:
    """Rewards on the scale on which reference answers have this mean and std 1, less the penalty of the truncated."""
    return (scene.scores - 0.4) / 1.7 + mean - penalty * np.array(scene.truncated)


def moved(params: Any, seed: int, size: float = 0.02) -> dict[str, mx.array]:
    """Give parameters some updates later: all of them a little elsewhere, LoRA's B included."""
    steps = draw(params, seed, size)
    return {k: v + steps[k] for k, v in params.items()}
