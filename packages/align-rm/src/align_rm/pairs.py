"""Preference pairs of a dataset artifact as token ids, with what was dropped counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align_contracts.errors import NonFiniteError
from align_mlx.batching import padded_size
from align_mlx.chat import Tokens, control_tokens, encode_turn, has_control_tokens
from align_mlx.finite import listed
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.world import ALONE, World


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt in ids, and the difference of the data's own scores (chosen − rejected)."""

    prompt_id: str
    chosen: Tokens
    rejected: Tokens
    gap: float

    @property
    def width(self) -> int:
        """Tokens of the longer of the two."""
        return max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class Pairs:
    """Pairs of a split: those kept, and how many were too long, had an empty answer or a control token in a text."""

    kept: list[Pair]
    too_long: int
    empty: int
    special: int

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs dropped, by reason."""
        return {"too_long": self.too_long, "empty": self.empty, "special": self.special}


def encode_pairs(rows: Sequence[Mapping[str, Any]], resident: Resident, max_seq_length: int) -> Pairs:
    """Turn rows of ``pairs/*.jsonl`` into ids; a pair stays only if both answers fit.

    Args:
        rows: rows with ``prompt_id, prompt, chosen, rejected, score_chosen, score_rejected``.
        resident: the base, for its tokenizer and end tokens.
        max_seq_length: most tokens of prompt and answer, end token included.
    """
    kept: list[Pair] = []
    too_long = empty = special = 0
    control = control_tokens(resident.tokenizer)
    for row in rows:
        if has_control_tokens(control, row["prompt"], row["chosen"], row["rejected"]):
            special += 1
            continue
        chosen, rejected = (
            encode_turn(resident.tokenizer, row["prompt"], row[name], resident.end_tokens)
            for name in ("chosen", "rejected")
        )
        pair = Pair(row["prompt_id"], chosen, rejected, row["score_chosen"] - row["score_rejected"])
        if any(turn.empty or not row[name].strip() for turn, name in ((chosen, "chosen"), (rejected, "rejected"))):
            empty += 1
        elif pair.width > max_seq_length:
            too_long += 1
        else:
            kept.append(pair)
    return Pairs(kept, too_long, empty, special)


def rows_of(pairs: Sequence[Pair]) -> list[Tokens]:
    """Give the answers of pairs: all chosen ones, then all rejected ones."""
    return [p.chosen for p in pairs] + [p.rejected for p in pairs]


def micro_batches(pairs: Sequence[Pair], token_budget: int) -> Iterator[list[Pair]]:
    """Cut a batch into groups of similar length within a budget of padded tokens; a pair is never split.

    Args:
        pairs: the pairs of an optimizer step.
        token_budget: most padded tokens of a group, see `padded_size`; one pair at least.
    """
    group: list[Pair] = []
    for pair in sorted(pairs, key=lambda p: p.width):
        if group and padded_size(rows_of([*group, pair])) > token_budget:
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def score_pairs(scorer: Scorer, pairs: Sequence[Pair], world: World = ALONE) -> tuple[np.ndarray, np.ndarray]:
    """Give raw scores fp64 [N] of the chosen and of the rejected answers; `world` shares the pairs.

    Raises:
        NonFiniteError: a score is not finite, so that nothing measured on them would be; the message names the pairs.
    """
    scores = scorer.score(rows_of(pairs), world)
    chosen, rejected = scores[: len(pairs)], scores[len(pairs) :]
    if not np.isfinite(scores).all():
        spoilt = np.flatnonzero(~np.isfinite(chosen) | ~np.isfinite(rejected))
        names = listed(pairs[i].prompt_id for i in spoilt.tolist())
        raise NonFiniteError("score", got=f"{len(spoilt)} of {len(pairs)} pairs: {names}", do="Nothing was published")
    return chosen, rejected
