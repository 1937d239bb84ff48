"""What one pair of a step gives by itself, measured once something was not finite."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from align_mlx.adapters import Params
from align_mlx.batching import pad
from align_mlx.guard import Figures, norm
from align_mlx.reward import Scorer
from align_rm.objective import Gradient
from align_rm.pairs import Pair, rows_of


def make_probe(gradient: Gradient, params: Params, scorer: Scorer, pairs: Sequence[Pair]) -> Callable[[int], Figures]:
    """Give the function place → {tokens (of both answers), loss (nats), gradient_norm, score_chosen, score_rejected}.

    Args:
        gradient: as `align_rm.objective.make_gradient` gives it.
        params: adapter and head.
        scorer: the model with these parameters.
        pairs: the pairs of the step.
    """

    def probe(i: int) -> Figures:
        rows = rows_of([pairs[i]])
        loss, grads = gradient(params, mx.array([pairs[i].gap]), *pad(rows).arrays)
        chosen, rejected = scorer.score(rows).tolist()
        return {
            "tokens": sum(len(row.response) for row in rows),
            "loss": float(loss.item()),
            "gradient_norm": norm(grads),
            "score_chosen": chosen,
            "score_rejected": rejected,
        }

    return probe
