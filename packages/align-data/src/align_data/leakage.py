"""The check that no prompt is in two splits, made on the rows that are about to be written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from align_contracts.errors import VerificationError
from align_data.rows import normalise
from align_data.split import SPLITS


@dataclass(frozen=True, slots=True)
class Leakage:
    """What the check found.

    Attributes:
        shared: prompts (by normalised text or identifier) in both splits, for each pair "train/test" …
        near: prompts of the test split that are, punctuation aside, a prompt of another split or a part of
            one. Information, not leakage: they are other prompts.
    """

    shared: dict[str, int]
    near: int


def check(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Leakage:
    """Compare every pair of splits over all files.

    Args:
        tables: rows by file stem ("sft/train", "pairs/test" …), as they will be written.

    Returns:
        Counts, all of `shared` zero.

    Raises:
        VerificationError: some prompt is in two splits. Nothing may be published then.
    """
    seen: dict[str, set[str]] = {split: set() for split in SPLITS}
    texts: dict[str, set[str]] = {split: set() for split in SPLITS}
    for stem, rows in tables.items():
        folder, split = stem.split("/")
        seen[split].update(f"id {row['prompt_id']}" for row in rows)
        if folder != "genrm":  # its user turn holds more than the prompt
            texts[split].update(normalise(_question(row)) for row in rows)
    for split in SPLITS:
        seen[split].update(f"text {text}" for text in texts[split])
    shared = {f"{one}/{other}": len(seen[one] & seen[other]) for one, other in combinations(SPLITS, 2)}
    if any(shared.values()):
        found = ", ".join(f"{pair}: {count}" for pair, count in shared.items() if count)
        raise VerificationError(
            "leakage: prompts are in two splits",
            expected="0 shared prompts",
            got=found,
            do="Nothing was written",
        )
    others = "\n".join(_words(text) for split in SPLITS if split != "test" for text in sorted(texts[split]))
    near = sum(bool(words.strip()) and words in others for words in map(_words, texts["test"]))
    return Leakage(shared, near)


def guarded_corpus(corpus: Iterable[str], test_prompts: Iterable[str]) -> Iterator[str]:
    """Pass a corpus through and stop at the first text that holds a test prompt.

    Args:
        corpus: texts the embedded base will be pre-trained on.
        test_prompts: prompts that must not be in any of them.

    Yields:
        The same texts.

    Raises:
        VerificationError: a text holds a whole test prompt.
    """
    forbidden = [normalise(prompt) for prompt in test_prompts]
    for text in corpus:
        folded = normalise(text)
        for prompt in forbidden:
            if prompt in folded and _whole(prompt, folded):
                raise VerificationError("leakage: the corpus holds a test prompt", got=repr(prompt[:80]))
        yield text


def _question(row: Mapping[str, Any]) -> str:
    return str(row["prompt"] if "prompt" in row else row["messages"][0]["content"])


def _words(text: str) -> str:
    """Letters and digits only, one blank around every word."""
    return " " + " ".join(re.findall(r"\w+", text)) + " "


def _whole(part: str, text: str) -> bool:
    """Whether `part` occurs in `text` without cutting a word or number."""
    start = text.find(part)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(part) : start + len(part) + 1]
        if not (before.isalnum() and part[0].isalnum()) and not (after.isalnum() and part[-1].isalnum()):
            return True
        start = text.find(part, start + 1)
    return False
