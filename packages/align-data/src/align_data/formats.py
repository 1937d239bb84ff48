"""The rows that are written: SFT in two formats, preference pairs, and prompts.

`chosen` trains on the preferred answer. `genrm` trains the model to say how good an answer is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from align_data.rows import Prompt

FORMATS = ("chosen", "genrm")
"""The two SFT formats: files `sft/` and `genrm/`."""

SCORE_PATTERN = re.compile(r"Score:\s*([0-9]+(?:\.[0-9]+)?)/10")
"""How a `genrm` answer's score is found."""


def chosen_messages(prompt: str, answer: str) -> list[dict[str, str]]:
    """A conversation of the default format: the prompt, then the preferred answer.

    Args:
        prompt: the user's text.
        answer: the preferred answer.

    Returns:
        Two chat messages.
    """
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def genrm_messages(prompt: str, answer: str, score: float) -> list[dict[str, str]]:
    """A conversation of the `genrm` format: prompt and answer are shown, the score is the answer.

    Args:
        prompt: the user's text.
        answer: the preferred answer.
        score: its score out of 10.

    Returns:
        Two chat messages.
    """
    return [
        {
            "role": "user",
            "content": f"User: {prompt}\n\nAssistant: {answer}\n\nAnalyze the quality of this response.",
        },
        {
            "role": "assistant",
            "content": f"Score: {score:.1f}/10. The response is helpful, harmless, and honest.",
        },
    ]


def parse_score(text: str) -> float | None:
    """Read the score out of a `genrm` answer.

    Args:
        text: what the model wrote.

    Returns:
        The first score found, or None.
    """
    found = SCORE_PATTERN.search(text)
    return float(found.group(1)) if found else None


def sft_rows(prompts: Sequence[Prompt], form: str = "chosen") -> list[dict[str, Any]]:
    """SFT rows of some prompts, one for each distinct preferred answer.

    An answer preferred in several rows of its prompt is written once, with the mean of its scores.

    Args:
        prompts: the split.
        form: "chosen" or "genrm".

    Returns:
        Rows {prompt_id, messages, score}.
    """
    written: list[dict[str, Any]] = []
    for prompt in prompts:
        scores: dict[str, list[float]] = {}
        for row in prompt.rows:
            scores.setdefault(row.chosen, []).append(row.score_chosen)
        for answer, values in scores.items():
            score = sum(values) / len(values)
            messages = (
                genrm_messages(prompt.text, answer, score) if form == "genrm" else chosen_messages(prompt.text, answer)
            )
            written.append({"prompt_id": prompt.prompt_id, "messages": messages, "score": score})
    return written


def pair_rows(prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Preference pairs of some prompts.

    Args:
        prompts: the split.

    Returns:
        Rows {prompt_id, prompt, chosen, rejected, score_chosen, score_rejected, category}.
    """
    return [
        {
            "prompt_id": prompt.prompt_id,
            "prompt": prompt.text,
            "chosen": row.chosen,
            "rejected": row.rejected,
            "score_chosen": row.score_chosen,
            "score_rejected": row.score_rejected,
            "category": prompt.category,
        }
        for prompt in prompts
        for row in prompt.rows
    ]


def prompt_rows(prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Prompts alone, for rollouts and for the test.

    Args:
        prompts: the split.

    Returns:
        Rows {prompt_id, prompt, category} and, where the prompt has reference checks, `checks`.
    """
    return [
        {
            "prompt_id": prompt.prompt_id,
            "prompt": prompt.text,
            "category": prompt.category,
            **({"checks": prompt.checks} if prompt.checks else {}),
        }
        for prompt in prompts
    ]


def tables(splits: dict[str, list[Prompt]], formats: Sequence[str] = FORMATS) -> dict[str, list[dict[str, Any]]]:
    """Every table of the artifact, by file stem.

    Args:
        splits: prompts by split name.
        formats: the SFT formats to write.

    Returns:
        Rows by "sft/train", "genrm/validation", "pairs/gold", "prompts/test" and so on. Only `train` and
        `validation` have SFT rows.
    """
    folders = (("sft", "chosen"), ("genrm", "genrm"))
    written = {
        f"{folder}/{split}": sft_rows(splits[split], form)
        for folder, form in folders
        if form in formats
        for split in ("train", "validation")
    }
    written |= {f"pairs/{name}": pair_rows(members) for name, members in splits.items()}
    written |= {f"prompts/{name}": prompt_rows(members) for name, members in splits.items()}
    return written
