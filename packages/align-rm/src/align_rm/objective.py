"""The gradient of the Bradley-Terry loss over adapter and head, exact however a batch is cut."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from align_contracts import signals
from align_mlx import steps as stepping
from align_mlx.adapters import Adapter, Params
from align_mlx.batching import Batch, pad
from align_mlx.prefix import states
from align_mlx.resident import Resident
from align_mlx.reward import head_scores
from align_mlx.world import ALONE, World
from align_rm.algorithms.bradley_terry import pair_losses
from align_rm.pairs import Pair, micro_batches, rows_of

Gradient = Callable[..., tuple[mx.array, Params]]

HEAD = "head."
"""Prefix of the head's arrays among the trainable ones."""


def zero_head(hidden_size: int) -> Params:
    """Give a head that scores everything 0: weight [1, D] and bias [1], fp32."""
    return {"weight": mx.zeros((1, hidden_size)), "bias": mx.zeros((1,))}


def split_params(params: Params, scale: float, head: Params) -> tuple[Adapter, Params]:
    """Split trainable arrays into the adapter and the head; what is not trained is taken from `head`."""
    now = {name: params.get(HEAD + name, value) for name, value in head.items()}
    return Adapter({k: v for k, v in params.items() if not k.startswith(HEAD)}, scale), now


def make_gradient(
    resident: Resident, scale: float, head: Params, *, margin: float, centering: float, compiled: bool
) -> Gradient:
    """Give (params, gaps [B], the arrays of a batch of 2B rows) → (summed loss, its gradients).

    Chosen answers are the first half of the rows, rejected ones the second: one forward pass for both, in which the two
    share their prompt.

    Args:
        resident: the backbone.
        scale: the adapter's factor.
        head: arrays of the head that are not trained.
        margin: see `pair_losses`.
        centering: see `pair_losses`.
        compiled: compile it for every batch shape.
    """

    def loss(params: Params, gaps_B: mx.array, *arrays: mx.array) -> mx.array:
        batch, (adapter, now) = Batch(*arrays), split_params(params, scale, head)
        scores_B = head_scores(states(resident, batch, (adapter,)), batch.lengths_B, now)
        chosen_B, rejected_B = mx.split(scores_B, 2)
        return pair_losses(chosen_B, rejected_B, gaps_B, margin=margin, centering=centering).sum()

    gradient = mx.value_and_grad(loss)
    return mx.compile(gradient) if compiled else gradient


def accumulate(
    gradient: Gradient, params: Params, pairs: Sequence[Pair], token_budget: int, world: World = ALONE
) -> tuple[float, Params]:
    """Give mean loss (nats a pair) and its gradient over a batch, cut to the budget.

    Args:
        gradient: as `make_gradient` gives it.
        params: adapter and head.
        pairs: the pairs of an optimizer step.
        token_budget: most padded tokens of one pass.
        world: the processes that share the pairs; all get the result.
    """
    total, grads = 0.0, None
    mine = world.share(sorted(pairs, key=lambda pair: pair.width)) if world.size > 1 else pairs
    for group in micro_batches(mine, token_budget):
        signals.check()
        value, part = gradient(params, mx.array([p.gap for p in group]), *pad(rows_of(group)).arrays)
        grads = stepping.add(grads, part)
        mx.eval(value, grads)
        total += float(value.item())
    total, grads = stepping.joined(world, total, grads, params)
    return total / len(pairs), stepping.scale(grads, 1.0 / len(pairs))
