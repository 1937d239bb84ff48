"""The five splits. Prompts are divided, never rows, so no question is both learned from and asked in a test.

the source's training part -- sample --> train | validation | calibration | gold
                               left over --.
the source's held-out part ----------------+--> test (equal numbers of each category)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from align_data.categories import CATEGORIES
from align_data.rows import Prompt
from align_data.sampling import seeded_order, stratified_sample

SPLITS = ("train", "validation", "calibration", "gold", "test")
"""All splits, in the order in which they are listed everywhere."""

_CUT = ("validation", "calibration", "gold")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is asked for.

    Attributes:
        target_rows: preference rows sampled for train, validation, calibration and gold together.
        score_bins: equally wide bins of the score the sample is stratified by.
        validation: prompts.
        calibration: prompts.
        gold: prompts.
        test: prompts, a multiple of three: one third of each category.
    """

    target_rows: int
    score_bins: int
    validation: int
    calibration: int
    gold: int
    test: int


@dataclass(slots=True)
class Divided:
    """The result.

    Attributes:
        splits: prompts of each of `SPLITS`, in seeded order; a split may be empty.
        unused: prompts that are in no split.
        notes: what could not be done as asked, one plain sentence each.
    """

    splits: dict[str, list[Prompt]]
    unused: int
    notes: list[str] = field(default_factory=list)


def divide(prompts: Sequence[Prompt], sizes: Sizes, seed: int) -> Divided:
    """Divide prompts into the five splits.

    Test prompts come from the source's held-out part, then from what the sample left over; a source without
    a held-out part gives them from its only part, before sampling. A small source keeps at least half of its
    training part for `train`: what is cut from it shrinks in proportion, and a note says so. Where test
    prompts come from that part, they take at most half of each category's.

    Args:
        prompts: all prompts, with categories and distinct keys.
        sizes: what is asked for.
        seed: decides every choice.

    Returns:
        The splits, disjoint by key.
    """
    notes: list[str] = []
    pool = [prompt for prompt in prompts if prompt.origin == "train"]
    held_out = [prompt for prompt in prompts if prompt.origin == "test"]
    per_category = sizes.test // len(CATEGORIES)
    asked = {name: getattr(sizes, name) for name in _CUT}
    test: list[Prompt] = []
    if not held_out:
        asked = _shrink({**asked, "test": sizes.test}, len(pool), notes)
        per_category = asked.pop("test") // len(CATEGORIES)
        test = _of_each_category(seeded_order(pool, seed, "test"), per_category, share=2)
        reserved = {prompt.key for prompt in test}
        pool = [prompt for prompt in pool if prompt.key not in reserved]
    sampled, left_over = stratified_sample(pool, sizes.target_rows, sizes.score_bins, seed)
    asked = _shrink(asked, len(sampled), notes)
    if held_out:
        candidates = seeded_order(held_out, seed, "test") + seeded_order(left_over, seed, "test")
        test = _of_each_category(candidates, per_category)
    splits = _cut(seeded_order(sampled, seed, "split"), asked)
    splits["test"] = seeded_order(test, seed, "order of test")
    notes += _missing_categories(test, per_category)
    used = sum(len(members) for members in splits.values())
    return Divided({name: splits[name] for name in SPLITS}, len(prompts) - used, notes)


def _cut(ordered: list[Prompt], asked: dict[str, int]) -> dict[str, list[Prompt]]:
    """Take validation, calibration and gold from the front, in that order; the rest is train."""
    splits: dict[str, list[Prompt]] = {}
    start = 0
    for name, size in asked.items():
        splits[name] = ordered[start : start + size]
        start += size
    splits["train"] = ordered[start:]
    return splits


def _of_each_category(candidates: Sequence[Prompt], per_category: int, share: int = 1) -> list[Prompt]:
    """The first `per_category` candidates of each category, at most one in `share` of those there are."""
    chosen: list[Prompt] = []
    for category in CATEGORIES:
        members = [prompt for prompt in candidates if prompt.category == category]
        chosen += members[: min(per_category, len(members) // share)]
    return chosen


def _shrink(asked: dict[str, int], available: int, notes: list[str]) -> dict[str, int]:
    """Scale sizes down until they take at most half of the `available` prompts; note what changed."""
    wanted, room = sum(asked.values()), available // 2
    if wanted <= room:
        return asked
    given = {name: size * room // wanted for name, size in asked.items()}
    if "test" in given:
        given["test"] -= given["test"] % len(CATEGORIES)
    changes = ", ".join(f"{name} {asked[name]} → {given[name]}" for name in asked if asked[name])
    notes.append(
        f"The source is small: {available} prompts, of which half are kept for training. "
        f"Prompts asked → given: {changes}."
    )
    return given


def _missing_categories(test: Sequence[Prompt], per_category: int) -> list[str]:
    """One note for each category of which the test split has fewer prompts than it should."""
    counts = {name: sum(prompt.category == name for prompt in test) for name in CATEGORIES}
    return [
        f"The test split has {count} {name} prompts instead of {per_category}: the source has no more to give"
        f" without asking a training prompt."
        for name, count in counts.items()
        if count < per_category
    ]
