"""The gradient of SFT's loss over an effective batch, exact however it is cut."""

from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx

from align_contracts import signals
from align_mlx import steps as stepping
from align_mlx.adapters import Adapter, Params
from align_mlx.batching import Batch, bucket, own_rows, pad
from align_mlx.chat import Tokens
from align_mlx.logprobs import policy_stats
from align_mlx.resident import Resident
from align_mlx.world import ALONE, World
from align_sft.algorithms.completion import negative_log_likelihood

Gradient = Callable[[Params, mx.array, mx.array, mx.array], tuple[mx.array, Params]]


def make_gradient(resident: Resident, scale: float, *, compiled: bool) -> Gradient:
    """Give the function (params, tokens_BL, starts_B, mask_BT) → (Σ −log p, its gradients)."""

    def loss(params: Params, tokens_BL: mx.array, starts_B: mx.array, mask_BT: mx.array) -> mx.array:
        stats = policy_stats(resident, (Adapter(params, scale),), Batch(tokens_BL, starts_B, mask_BT))
        return negative_log_likelihood(stats.logprobs_BT, mask_BT)

    gradient = mx.value_and_grad(loss)
    return mx.compile(gradient) if compiled else gradient


def accumulate(
    gradient: Gradient,
    params: Params,
    rows: Sequence[Tokens],
    batch_size: int,
    token_budget: int | None = None,
    world: World = ALONE,
) -> tuple[float, Params, int]:
    """Give loss and gradient of an effective batch, micro-batch by micro-batch.

    Rows are sorted by length first, so that little is padded; sums are divided by the tokens of the whole batch, so
    the result does not depend on how it was cut.

    Args:
        gradient: as `make_gradient` gives it.
        params: the adapter's arrays.
        rows: the rows of the effective batch.
        batch_size: most rows of a micro-batch.
        token_budget: most padded tokens of one (one row at least); None for no bound.
        world: the processes that share the rows; all get the result.

    Returns:
        Mean −log p over response tokens (nats), its gradients, and the number of response tokens.
    """
    tokens = sum(len(row.response) for row in rows)
    total, grads = 0.0, None
    for group in micro_batches([rows[i] for i in own_rows(rows, world)], batch_size, token_budget):
        signals.check()
        batch = pad(group, share=False)  # few answers share a prompt; one shape compiles
        nll, part = gradient(params, batch.tokens_BL, batch.starts_B, batch.mask_BT)
        grads = stepping.add(grads, part)
        mx.eval(nll, grads)
        total += float(nll.item())
    total, grads = stepping.joined(world, total, grads, params)
    return total / tokens, stepping.scale(grads, 1.0 / tokens), tokens


def micro_batches(rows: Sequence[Tokens], batch_size: int, token_budget: int | None) -> Iterator[list[Tokens]]:
    """Cut rows, sorted by length, into groups of at most so many rows and padded tokens (one row at least)."""
    group: list[Tokens] = []
    for row in sorted(rows, key=len):
        full = len(group) == batch_size
        if group and (full or (token_budget is not None and (len(group) + 1) * bucket(len(row)) > token_budget)):
            yield group
            group = []
        group.append(row)
    if group:
        yield group
