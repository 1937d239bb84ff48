"""Log-probs, entropy and KL over a vocabulary that is never there as a whole.

The softmax runs over blocks of tokens and, inside, over blocks of the head's rows (online log-sum-exp). Gemma's
256 000 logits a token are 1 MB in fp32: for a whole sequence they would be more than the model. The gradient comes
from the same single pass: beside the sum of e^z it accumulates that of e^z · W, so that with g = ∂z/∂(W h)

    ∂ log p(y) / ∂h = (1 − p_y) g_y W_y − Σ_{v ≠ y} p_v g_v W_v        ∂ H / ∂h = −E_p[(log p + H) g W]

are ready as two vectors of the hidden size, and the backward pass only scales them. The target stays out of the sum:
W_y − E_p[W] would cancel where p(y) is near 1, which is where a trained policy mostly is. Source: Cut Cross-Entropy,
Wijmans et al., arXiv 2411.09009, whose backward pass computes the logits again instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx

from align_mlx import fastmath
from align_mlx.head import Head


@dataclass(frozen=True)
class Blocks:
    """How many logits exist at the same time: tokens × rows of the head."""

    tokens: int = 1024
    rows: int = 16384


BLOCKS = Blocks()
SMALL_BLOCKS = Blocks(512, 4096)
"""Where memory is short: blocks then take an eighth, 8 MiB in fp32."""


@dataclass(frozen=True)
class _Sums:
    """Sums over a part of the vocabulary, for each of N tokens, all relative to that part's largest logit.

    Attributes:
        top_N: the largest logit.
        total_N: Σ e^(z − top).
        energy_N: Σ e^(z − top) (z − top), for the entropy.
        rest_N: Σ e^(z − top) over all but the target: 1 − p_y without cancellation.
        row_ND: Σ e^(z − top) g W over all but the target, for the gradient of log p.
        energy_row_ND: Σ e^(z − top) (z − top) g W over all but the target, for the gradient of the entropy.
    """

    top_N: mx.array
    total_N: mx.array
    energy_N: mx.array | None = None
    rest_N: mx.array | None = None
    row_ND: mx.array | None = None
    energy_row_ND: mx.array | None = None

    @property
    def arrays(self) -> list[mx.array]:
        """What is there of the six."""
        found = (self.top_N, self.total_N, self.energy_N, self.rest_N, self.row_ND, self.energy_row_ND)
        return [array for array in found if array is not None]

    @property
    def lse_N(self) -> mx.array:
        """log Σ e^z."""
        return mx.log(self.total_N) + self.top_N

    @property
    def excess_N(self) -> mx.array:
        """E_p[z] − top; H = log total − excess."""
        assert self.energy_N is not None
        return self.energy_N / self.total_N

    def raised(self, top_N: mx.array) -> "_Sums":
        """Give the same sums relative to a larger logit."""
        shift_N = self.top_N - top_N
        keep_N = fastmath.exp(shift_N)
        keep_N1, shift_N1 = keep_N[:, None], shift_N[:, None]
        return _Sums(
            top_N,
            keep_N * self.total_N,
            None if self.energy_N is None else keep_N * (self.energy_N + shift_N * self.total_N),
            None if self.rest_N is None else keep_N * self.rest_N,
            None if self.row_ND is None else keep_N1 * self.row_ND,
            None if self.energy_row_ND is None else keep_N1 * (self.energy_row_ND + shift_N1 * self.row_ND),
        )

    def __add__(self, other: "_Sums") -> "_Sums":
        top_N = mx.maximum(self.top_N, other.top_N)
        a, b = self.raised(top_N), other.raised(top_N)

        def plus(x: mx.array | None, y: mx.array | None) -> mx.array | None:
            return None if x is None or y is None else x + y

        return _Sums(
            top_N,
            a.total_N + b.total_N,
            plus(a.energy_N, b.energy_N),
            plus(a.rest_N, b.rest_N),
            plus(a.row_ND, b.row_ND),
            plus(a.energy_row_ND, b.energy_row_ND),
        )


def after(array: mx.array, done: list[mx.array]) -> mx.array:
    """Give an array that is not there before others are computed.

    MLX walks a graph in breadth first, and would begin every block before it ends the first.
    """
    return mx.depends(array, done)


def logits_in_blocks(head: Head, hidden: mx.array, rows: int) -> mx.array:
    """Give what ``head.logits`` gives, computed for some rows of the vocabulary after the others.

    Args:
        head: the head.
        hidden: [..., D].
        rows: rows of the vocabulary at a time.
    """
    parts: list[mx.array] = []
    for cut in _cuts(head.vocab_size, rows):
        parts.append(head.logits(after(hidden, parts[-1:]) if parts else hidden, cut))
    return mx.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def _cuts(size: int, step: int) -> Iterator[slice]:
    yield from (slice(start, min(start + step, size)) for start in range(0, size, step))


def _sums(
    head: Head, hidden_ND: mx.array, targets_N: mx.array, temperature: float, rows: int, entropy: bool, gradient: bool
) -> tuple[mx.array, _Sums]:
    """Give the targets' logits z_y [N] and the sums over the whole vocabulary."""
    chosen_N = mx.zeros(targets_N.shape, mx.float32)
    sums: _Sums | None = None
    for cut in _cuts(head.vocab_size, rows):
        logits_NV = head.logits(hidden_ND, cut)
        scaled_NV = logits_NV / temperature if temperature != 1.0 else logits_NV
        places_N = mx.clip(targets_N - cut.start, 0, cut.stop - cut.start - 1)
        found_N = mx.take_along_axis(scaled_NV, places_N[:, None], axis=-1)[:, 0]
        chosen_N = mx.where(places_N + cut.start == targets_N, found_N, chosen_N)
        top_N1 = scaled_NV.max(axis=-1, keepdims=True)
        below_NV = scaled_NV - top_N1
        powers_NV = fastmath.exp(below_NV)
        row_ND = energy_row_ND = rest_N = None
        if gradient:
            others_NV = mx.where(mx.arange(cut.start, cut.stop) == targets_N[:, None], 0.0, powers_NV)
            rest_N = others_NV.sum(axis=-1)
            slope_NV = head.slope(logits_NV)
            steep_NV = others_NV if slope_NV is None else others_NV * slope_NV
            row_ND = head.back(steep_NV, cut, hidden_ND.dtype)
            energy_row_ND = head.back(steep_NV * below_NV, cut, hidden_ND.dtype) if entropy else None
        part = _Sums(
            top_N1[:, 0],
            powers_NV.sum(axis=-1),
            (powers_NV * below_NV).sum(axis=-1) if entropy else None,
            rest_N,
            row_ND,
            energy_row_ND,
        )
        sums = part if sums is None else sums + part
        hidden_ND = after(hidden_ND, [chosen_N, *sums.arrays])
    assert sums is not None
    return chosen_N, sums


def _block(
    head: Head, hidden_ND: mx.array, targets_N: mx.array, temperature: float, rows: int, entropy: bool, gradient: bool
) -> list[mx.array]:
    """Give log p(y) and, if asked for, H of one block of tokens; differentiable in the hidden states."""

    def statistics(chosen_N: mx.array, sums: _Sums) -> list[mx.array]:
        logprobs_N = chosen_N - sums.lse_N
        return [logprobs_N, mx.log(sums.total_N) - sums.excess_N] if entropy else [logprobs_N]

    if not gradient:
        return statistics(*_sums(head, hidden_ND, targets_N, temperature, rows, entropy, gradient=False))

    @mx.custom_function
    def forward(hidden_ND: mx.array) -> list[mx.array]:
        chosen_N, sums = _sums(head, hidden_ND, targets_N, temperature, rows, entropy, gradient=True)
        slope_N = head.slope(chosen_N * temperature)
        target_ND = head.embed(targets_N) if slope_N is None else slope_N[:, None] * head.embed(targets_N)
        others_ND = sums.row_ND / sums.total_N[:, None]
        slopes = [((sums.rest_N / sums.total_N)[:, None] * target_ND - others_ND) / temperature]
        if entropy:
            # log p + H = (z − top) − (E_p[z] − top), for the others and for the target itself
            below_N = chosen_N - sums.top_N
            own_N = fastmath.exp(below_N) / sums.total_N * (sums.excess_N - below_N)
            entropy_ND = sums.excess_N[:, None] * others_ND - sums.energy_row_ND / sums.total_N[:, None]
            slopes.append((entropy_ND + own_N[:, None] * target_ND) / temperature)
        return [*statistics(chosen_N, sums), *slopes]

    @forward.vjp
    def backward(hidden_ND: mx.array, cotangents: list[mx.array], outputs: list[mx.array]) -> mx.array:
        kinds = len(outputs) // 2  # statistics first, then the gradient of each
        parts = [cotangents[i][:, None] * outputs[kinds + i] for i in range(kinds)]
        return sum(parts[1:], parts[0]).astype(hidden_ND.dtype)

    return forward(hidden_ND)[: 1 + entropy]


def target_statistics(
    head: Head,
    hidden_ND: mx.array,
    targets_N: mx.array,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    gradient: bool = True,
    blocks: Blocks = BLOCKS,
) -> tuple[mx.array, mx.array | None]:
    """Give log p(target), and the entropy H, of softmax(z / temperature) with the head's logits z.

    Args:
        head: what turns hidden states into logits; frozen.
        hidden_ND: hidden states in the compute dtype.
        targets_N: int32 ids.
        temperature: logits are divided by it.
        entropy: also give H.
        gradient: prepare the gradient during the forward pass (one matrix product more, two with entropy). Without it
            the values are the same.
        blocks: how many logits exist at the same time; changes memory and rounding, nothing else.

    Returns:
        logprobs_N and entropy_N (or None), fp32, nats.
    """
    parts: list[list[mx.array]] = []
    for cut in _cuts(targets_N.size, blocks.tokens):
        states_ND = after(hidden_ND[cut], parts[-1]) if parts else hidden_ND[cut]
        parts.append(_block(head, states_ND, targets_N[cut], temperature, blocks.rows, entropy, gradient))
    whole = [mx.concatenate(columns) if len(columns) > 1 else columns[0] for columns in zip(*parts, strict=True)]
    return whole[0], (whole[1] if entropy else None)


def kl_divergence(
    head: Head,
    hidden_ND: mx.array,
    other: Head,
    other_ND: mx.array,
    *,
    temperature: float = 1.0,
    blocks: Blocks = BLOCKS,
) -> mx.array:
    """Give KL(p ‖ q) = Σ_v p (log p − log q) exactly, token by token.

    Args:
        head, hidden_ND: give the logits of p.
        other, other_ND: give the logits of q, over the same vocabulary.
        temperature: logits of both are divided by it.
        blocks: as in `target_statistics`.

    Returns:
        fp32 [N], nats, ≥ 0 up to rounding. Not meant to be differentiated.

    Raises:
        ValueError: the heads have vocabularies of different sizes.
    """
    if head.vocab_size != other.vocab_size:
        raise ValueError(f"expected vocabularies of one size, got {head.vocab_size} and {other.vocab_size}")
    parts: list[mx.array] = []
    for cut in _cuts(hidden_ND.shape[0], blocks.tokens):
        states_ND = after(hidden_ND[cut], parts[-1:]) if parts else hidden_ND[cut]
        parts.append(_kl(head, states_ND, other, other_ND[cut], temperature, blocks.rows))
    return mx.concatenate(parts)


def _kl(head: Head, hidden_ND: mx.array, other: Head, other_ND: mx.array, temperature: float, rows: int) -> mx.array:
    p: _Sums | None = None
    q: _Sums | None = None
    for cut in _cuts(head.vocab_size, rows):
        z_NV, w_NV = head.logits(hidden_ND, cut) / temperature, other.logits(other_ND, cut) / temperature
        z_top_N1, w_top_N1 = z_NV.max(axis=-1, keepdims=True), w_NV.max(axis=-1, keepdims=True)
        powers_NV = fastmath.exp(z_NV - z_top_N1)
        # The "row" of p here is Σ e^(z − top) (z − w): what KL needs the mean of.
        gap_N1 = (powers_NV * (z_NV - w_NV)).sum(axis=-1, keepdims=True)
        part_p = _Sums(z_top_N1[:, 0], powers_NV.sum(axis=-1), row_ND=gap_N1)
        part_q = _Sums(w_top_N1[:, 0], fastmath.exp(w_NV - w_top_N1).sum(axis=-1))
        p, q = part_p if p is None else p + part_p, part_q if q is None else q + part_q
        hidden_ND, other_ND = (after(h, [*p.arrays, *q.arrays]) for h in (hidden_ND, other_ND))
    assert p is not None
    assert q is not None
    assert p.row_ND is not None
    return p.row_ND[:, 0] / p.total_N - p.lse_N + q.lse_N
