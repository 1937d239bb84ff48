"""The answers that a run keeps: at evaluation points those to the validation prompts, and some that it learned from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from align_mlx.chat import decode_response
from align_mlx.resident import Resident
from align_mlx.rollout import Prompt
from align_rl.methods.base import Experience
from align_rl.rollout import Rollout

Row = dict[str, Any]

SHOWN = 2
"""Prompts of a training rollout whose answers are kept, all K of each."""


def answer_rows(
    resident: Resident, rollout: Rollout, ids: Sequence[str], arrays_BT: Mapping[str, mx.array]
) -> list[Row]:
    """Give the first answers of a rollout as rows.

    Args:
        resident: the base, whose tokenizer spells them.
        rollout: the answers.
        ids: prompt id of each of the first answers; the others are left out.
        arrays_BT: what is kept of each token, by name; log-probs are always kept.

    Returns:
        {prompt_id, response, tokens, truncated, reward (raw), logprobs, ref_logprobs, the arrays}, no padding.
    """
    arrays = {"logprobs": rollout.logprobs_BT, "ref_logprobs": rollout.ref_logprobs_BT, **arrays_BT}
    numpy = {name: np.array(values_BT) for name, values_BT in arrays.items()}
    rows = []
    for i, (prompt_id, answer) in enumerate(zip(ids, rollout.answers, strict=False)):
        tokens = list(answer.tokens.response)
        row: Row = {
            "prompt_id": prompt_id,
            "response": decode_response(resident.tokenizer, tokens, resident.end_tokens),
            "tokens": tokens,
            "truncated": answer.truncated,
            "reward": _round(rollout.scores_B[i]),
            **{name: [_round(x) for x in values_BT[i, : len(tokens)]] for name, values_BT in numpy.items()},
        }
        rows.append(row)
    return rows


def lesson_rows(
    resident: Resident, prompts: Sequence[Prompt], names: Mapping[int, str], rollout: Rollout, experience: Experience
) -> list[Row]:
    """Give the answers to the first prompts of a training rollout with what each token was credited with.

    A single answer has no group, so evaluation points cannot show GRPO's advantages; these are the ones that the
    update used.

    Args:
        resident: the base.
        prompts: the iteration's prompts.
        names: prompt id by prompt number.
        rollout: their answers, prompt by prompt.
        experience: the same, made ready for the update.

    Returns:
        Rows as of `answer_rows` with `advantages`, PPO's `values`, and where a prompt has several answers `group`:
        {place, rewards}, the answer's place and the raw rewards of all K.
    """
    shown = rollout.prompts[np.isin(rollout.prompts, np.unique(rollout.prompts)[:SHOWN])]
    ids = [names[prompts[place].number] for place in shown]
    alone = len(np.unique(rollout.prompts)) == len(rollout.prompts)
    arrays = {"advantages": experience.advantages_BT}
    if alone:
        arrays["values"] = experience.old_values_BT
    rows = answer_rows(resident, rollout, ids, arrays)
    for i, row in enumerate(rows):
        if not alone:
            group = np.flatnonzero(shown == shown[i])
            row["group"] = {"place": i - int(group[0]), "rewards": [rows[j]["reward"] for j in group]}
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, one a line; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_rewards(path: Path) -> dict[str, float]:
    """Give the raw reward of each answer in a file of `write_rows`, by prompt id."""
    with path.open(encoding="utf-8") as file:
        rows = map(json.loads, file)
        return {row["prompt_id"]: row["reward"] for row in rows}


def win_rate(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Give the share of prompts whose answer is scored above the one before, 0 to 1; an equal score counts half.

    Args:
        before: the reward of the SFT policy's answer to each prompt, by prompt id.
        now: the same of the trained policy.
    """
    pairs = [(now[name], before[name]) for name in before]
    return sum((new > old) + (new == old) / 2 for new, old in pairs) / len(pairs)


def _round(value: float) -> float:
    """Six decimals: below that, log-probs in fp32 carry no information."""
    return round(float(value), 6)
