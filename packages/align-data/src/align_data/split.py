"""The five splits. Prompts are divided, never rows, so no question is both learned from and asked in a test.

the source's training part -- sample --> train | validation | calibration | gold
                               left over --.
the source's held-out part ----------------+--> test (equal numbers of each category)
"""

from __future__ import annotations

from collections import Counter
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
    pool = [prompt for prompt in prompts if prompt.origin == "train"]
    held_out = [prompt for prompt in prompts if prompt.origin == "test"]
    asked = {name: getattr(sizes, name) for name in (*_CUT, "test")}
    room = asked if held_out else _shrink(asked, len(pool))
    share = 1 if held_out else 2
    candidates = seeded_order(held_out or pool, seed, "test")
    test = [] if held_out else _of_each_category(candidates, room["test"], share)
    reserved = {prompt.key for prompt in test}
    pool = [prompt for prompt in pool if prompt.key not in reserved]
    sampled, left_over = stratified_sample(pool, sizes.target_rows, sizes.score_bins, seed)
    if held_out:
        candidates += seeded_order(left_over, seed, "test")
        test = _of_each_category(candidates, room["test"], share)
    splits = _cut(seeded_order(sampled, seed, "split"), _shrink({name: room[name] for name in _CUT}, len(sampled)))
    splits["test"] = seeded_order(test, seed, "order of test")
    used = sum(len(members) for members in splits.values())
    notes = _too_few(asked, splits, len(prompts)) + _uneven_test(test, candidates, room["test"], share)
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


def _of_each_category(candidates: Sequence[Prompt], size: int, share: int) -> list[Prompt]:
    """A third of `size` of each category, the first ones, but at most one in `share` of those there are."""
    chosen: list[Prompt] = []
    for category in CATEGORIES:
        members = [prompt for prompt in candidates if prompt.category == category]
        chosen += members[: min(size // len(CATEGORIES), len(members) // share)]
    return chosen


def _shrink(asked: dict[str, int], available: int) -> dict[str, int]:
    """Scale sizes down in proportion until they take at most half of the `available` prompts."""
    wanted, room = sum(asked.values()), available // 2
    return asked if wanted <= room else {name: size * room // wanted for name, size in asked.items()}


def _too_few(asked: dict[str, int], splits: dict[str, list[Prompt]], found: int) -> list[str]:
    """A note of the splits that have fewer prompts than were asked for."""
    taken = {name: len(splits[name]) for name in asked}
    few = ", ".join(f"{name} {taken[name]} of {size}" for name, size in asked.items() if taken[name] < size)
    why = f"The source has {found} in all; at least half of those sampled for training stay in train."
    if 0 < (most := taken["validation"]) < asked["validation"]:
        why += f" PPO and GRPO evaluate on validation prompts: train them with --eval-prompts {most} or fewer."
    return [f"Fewer prompts than asked for: {few}. {why}"] if few else []


def _uneven_test(test: Sequence[Prompt], candidates: Sequence[Prompt], room: int, share: int) -> list[str]:
    """A note of what the test takes of each category, where one has too few prompts to give its third."""
    taken, found = (Counter(prompt.category for prompt in prompts) for prompts in (test, candidates))
    third = room // len(CATEGORIES)
    if all(taken[name] == third for name in CATEGORIES):
        return []
    counts = ", ".join(f"{name} {taken[name]} of {found[name]}" for name in CATEGORIES)
    limit = "outside training" if share == 1 else "in the source, of which at most half leave training"
    return [f"The test split wants {third} prompts of each category and takes {counts} {limit}."]
