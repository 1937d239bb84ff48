"""Shared prompts: what K answers have in common is computed once, in every pass that scores or learns.

The distinct prompts of a batch run through the trunk first, and each block keeps their keys and values; then the
answers run, each behind its own prompt's. K answers of T tokens to a prompt of L cost L + K · T tokens instead of
K · (L + T). Everything is an ordinary array, so gradients flow through the prompts too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

from align_mlx.adapters import Adapter
from align_mlx.batching import Batch, gather, pad
from align_mlx.chat import Tokens
from align_mlx.resident import Resident

LONGEST = 2048
"""Longer sliding windows are not tried at load: it would take too long, and prompts do not outgrow them."""


@dataclass
class Prefix:
    """Stands where a block expects mlx-lm's cache: first it keeps the prompts, then it puts them before the answers.

    Prompts are padded on the right: no real token sees padding before it, so none needs a mask of its own.

    Attributes:
        stored: the prompts' keys and values, [P, H, L, D] each; empty before they were read.
        prompt_B: which prompt each answer stands behind; None while prompts are read.
        starts_B: the prompts' lengths, one an answer.
    """

    stored: list[mx.array] = field(default_factory=list)
    prompt_B: mx.array | None = None
    starts_B: mx.array | None = None

    @property
    def offset(self) -> mx.array | int:
        """Where the next token stands: behind its prompt."""
        return 0 if self.starts_B is None else self.starts_B

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Keep the prompts' keys and values, or give the answers' behind their prompts', [B, H, L + T, D]."""
        if self.prompt_B is None:
            self.stored = [keys, values]
            return keys, values
        before = [array[self.prompt_B] for array in self.stored]
        return mx.concatenate([before[0], keys], axis=2), mx.concatenate([before[1], values], axis=2)

    def make_mask(
        self, count: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """Say what each of `count` new tokens sees: its prompt, and the answer up to itself, within the window."""
        if self.starts_B is None:
            windowed = window_size is not None and count > window_size
            return create_causal_mask(count, window_size=window_size) if return_array or windowed else "causal"
        place_T, prompt_L = mx.arange(count), mx.arange(self.stored[0].shape[2])
        starts_B11 = self.starts_B[:, None, None]
        prompt_BTL = mx.broadcast_to(prompt_L < starts_B11, (self.starts_B.size, count, prompt_L.size))
        answer_TT = place_T[:, None] >= place_T
        if window_size is not None:
            prompt_BTL = prompt_BTL & (starts_B11 + place_T[:, None] - prompt_L < window_size)
            answer_TT = answer_TT & (place_T[:, None] - place_T < window_size)
        answer_BTT = mx.broadcast_to(answer_TT, (self.starts_B.size, count, count))
        return mx.concatenate([prompt_BTL, answer_BTT], axis=-1)[:, None]


def shares_prompts(resident: Resident) -> bool:
    """Find out by trial whether a model computes the same behind a shared prompt.

    Its blocks must keep keys and values and nothing else, and take them from a `Prefix`. Three answers to two prompts
    of different lengths, the longer one beyond every sliding window, go through the trunk both ways. Rounding is
    allowed what it does between two ways that are the same by definition: other padding.
    """
    caches = make_prompt_cache(resident.model)
    if any(type(cache) not in (KVCache, RotatingKVCache) for cache in caches):
        return False
    windows = [cache.max_size for cache in caches if isinstance(cache, RotatingKVCache) and cache.max_size <= LONGEST]
    prompts = [tuple((7 * i + row) % resident.vocab_size for i in range(n)) for row, n in enumerate((33, 50))]
    prompts[1] = prompts[1] * (1 + max(windows, default=0) // 50)
    answers = [(0, (1, 2, 3)), (1, (4,)), (1, (5, 6))]
    rows = [Tokens(prompts[p], tuple(i % resident.vocab_size for i in answer)) for p, answer in answers]
    batch, longer = pad(rows), pad([*rows, Tokens(rows[1].prompt, rows[1].prompt[:20])], share=False)
    try:
        expected = _answer_states(_whole(resident, batch, ()), rows)
        again = _answer_states(_whole(resident, longer, ()), rows)
        found = _answer_states(_shared(resident, batch, ()), rows)
    except (AttributeError, TypeError, ValueError, RuntimeError):  # a model that asks its cache for something else
        return False

    def apart(other: mx.array) -> float:
        return float((mx.linalg.norm(other - expected, axis=-1) / mx.linalg.norm(expected, axis=-1)).max().item())

    return apart(found) <= max(4 * apart(again), 1e-4 if resident.compute.dtype == mx.float32 else 0.02)


def _answer_states(states_BSD: mx.array, rows: Sequence[Tokens]) -> mx.array:
    """Put the rows' real states one after the other, in fp32 [N, D]."""
    parts = [states_BSD[i, : len(row.response) + 1] for i, row in enumerate(rows)]
    return mx.concatenate(parts).astype(mx.float32)


def states(resident: Resident, batch: Batch, adapters: Sequence[Adapter] = ()) -> mx.array:
    """Give the hidden states that the responses are read from.

    Args:
        resident: the base.
        batch: the rows; where it shares prompts, so does the computation.
        adapters: the role's adapters over the shared ones.

    Returns:
        states_BSD with S = T + 1, in the compute dtype: state t predicts response token t, and state t + 1 has read it.
        Behind a row's last token they mean nothing.
    """
    shared = batch.prompts_PL is not None and resident.shares_prompts
    return (_shared if shared else _whole)(resident, batch, adapters)


def _whole(resident: Resident, batch: Batch, adapters: Sequence[Adapter]) -> mx.array:
    return gather(resident.hidden(batch.tokens_BL, adapters), batch.positions_BS)


def _shared(resident: Resident, batch: Batch, adapters: Sequence[Adapter]) -> mx.array:
    blocks = [Prefix() for _ in make_prompt_cache(resident.model)]
    prompts_PLD = resident.hidden(batch.prompts_PL, adapters, blocks)
    first_BD = prompts_PLD[batch.prompt_B, batch.starts_B - 1]
    behind = [Prefix(block.stored, batch.prompt_B, batch.starts_B) for block in blocks]
    answers_BTD = resident.hidden(batch.targets_BT, adapters, behind)
    return mx.concatenate([first_BD[:, None], answers_BTD], axis=1)
