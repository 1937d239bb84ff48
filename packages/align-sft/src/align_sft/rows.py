"""Rows of a dataset artifact as token ids, with what was dropped counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from align_contracts import Artifact
from align_contracts.errors import ConfigError
from align_mlx.chat import Tokens, control_tokens, encode_turn, has_control_tokens
from align_mlx.resident import Resident


@dataclass(frozen=True)
class Encoded:
    """Token rows of one split.

    Attributes:
        tokens: prompt and answer of each kept row.
        ids: prompt_id of each kept row.
        too_long: rows dropped because they are longer than the limit.
        empty: rows dropped because their answer has no text, or the chat template leaves none of it.
        special: rows dropped because a control token stands in their text, see `align_mlx.chat.control_tokens`.
    """

    tokens: list[Tokens]
    ids: list[str]
    too_long: int
    empty: int
    special: int

    @property
    def dropped(self) -> dict[str, int]:
        """Rows dropped, by reason."""
        return {"too_long": self.too_long, "empty": self.empty, "special": self.special}


def read_rows(data: Artifact, form: str, split: str) -> list[dict[str, Any]]:
    """Read the SFT rows of a split.

    Args:
        data: dataset artifact.
        form: ``chosen`` or ``genrm``.
        split: ``train`` or ``validation``.

    Raises:
        ConfigError: the dataset does not carry this format.
    """
    if form not in data.details.formats:
        raise ConfigError(f"{data.name} has no {form} rows", expected=f"one of {', '.join(data.details.formats)}")
    return data.read_jsonl(f"{'sft' if form == 'chosen' else 'genrm'}_{split}")


def encode_rows(rows: Iterable[Mapping[str, Any]], resident: Resident, max_seq_length: int) -> Encoded:
    """Turn rows into token ids under the base's chat template.

    Args:
        rows: rows with ``prompt_id`` and ``messages`` (user, then assistant).
        resident: the base, for its tokenizer and end tokens.
        max_seq_length: most tokens of prompt and answer together, end token included.
    """
    tokens: list[Tokens] = []
    ids: list[str] = []
    too_long = empty = special = 0
    control = control_tokens(resident.tokenizer)
    for row in rows:
        user, assistant = (message["content"] for message in row["messages"])
        if has_control_tokens(control, user, assistant):
            special += 1
            continue
        turn = encode_turn(resident.tokenizer, user, assistant, resident.end_tokens)
        if turn.empty or not assistant.strip():
            empty += 1
        elif len(turn) > max_seq_length:
            too_long += 1
        else:
            tokens.append(turn)
            ids.append(row["prompt_id"])
    return Encoded(tokens, ids, too_long, empty, special)
