"""The data card: everything a reader should know of a dataset before training on it, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from align_data.categories import CATEGORIES
from align_data.clean import REASONS, Cleaned
from align_data.leakage import Leakage
from align_data.rows import Grouping, Prompt
from align_data.source import Source
from align_data.split import Divided
from align_data.stats import pair_statistics

UNSCORED = "The source has no scores: 1 stands for the preferred answer, 0 for the other, and there are no genrm rows."
Tables = Mapping[str, Sequence[Mapping[str, Any]]]

_EXAMPLES = 3
_EXAMPLE_LENGTH = 100


def build(
    *,
    source: Source,
    cleaned: Cleaned,
    grouping: Grouping,
    divided: Divided,
    tables: Tables,
    leakage: Leakage,
    corpus: int | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Put the card together.

    Args:
        source: where the rows came from.
        cleaned: what cleaning kept and dropped.
        grouping: what grouping by prompt found; its prompts have categories.
        divided: the splits.
        tables: rows by file stem, as written.
        leakage: the result of the check.
        corpus: texts of `corpus.jsonl`, or None without one.
        settings: seed and sizes asked for.

    Returns:
        JSON-able; depends on nothing but its arguments.
    """
    pairs = [row for stem, rows in tables.items() if stem.startswith("pairs/") for row in rows]
    return {
        "source": {
            "name": source.name,
            "revision": source.revision,
            "license": source.license,
            "imported": source.imported,
        },
        "settings": dict(settings),
        "rows": {
            "read": cleaned.read,
            "read_by_part": dict(sorted(cleaned.read_by_part.items(), reverse=True)),
            "dropped": {reason: cleaned.dropped[reason] for reason in REASONS},
            "kept": len(cleaned.rows),
            "used": len(pairs),
        },
        "prompts": {
            "found": len(grouping.prompts),
            "unused": divided.unused,
            "with_several_rows": sum(len(prompt.rows) > 1 for prompt in grouping.prompts),
            "in_both_parts": grouping.in_both_parts,
            "replaced_ids": grouping.replaced_ids,
        },
        "splits": {
            name: {
                "asked": settings.get(name),
                "prompts": len(members),
                **category_counts(members),
                "pairs": len(tables[f"pairs/{name}"]),
                "sft": len(tables[f"sft/{name}"]) if f"sft/{name}" in tables else None,
            }
            for name, members in divided.splits.items()
        },
        "duplicates": {
            "rows_dropped": cleaned.dropped["duplicate_row"],
            "sft_answers_merged": sum(
                len(tables[f"pairs/{name}"]) - len(tables[f"sft/{name}"]) for name in ("train", "validation")
            ),
            "near_duplicates_of_test": leakage.near,
        },
        "leakage": {"shared_prompts": leakage.shared, "total": sum(leakage.shared.values())},
        "corpus": corpus,
        "category_rules": _rules(grouping.prompts),
        "examples": _examples(divided.splits["train"]),
        **pair_statistics(pairs),
        "notes": [*divided.notes, *([] if source.scored else [UNSCORED])],
    }


def category_counts(prompts: Sequence[Prompt]) -> dict[str, int]:
    """Count the prompts of each category.

    Args:
        prompts: a split.

    Returns:
        A count for each of `CATEGORIES`, zero included.
    """
    counts = Counter(prompt.category for prompt in prompts)
    return {name: counts[name] for name in CATEGORIES}


def _rules(prompts: Sequence[Prompt]) -> dict[str, int]:
    """How many prompts each line of the keyword rule decided, or the source itself."""
    return dict(sorted(Counter(f"{prompt.category}: {prompt.rule}" for prompt in prompts).items()))


def _examples(prompts: Sequence[Prompt]) -> dict[str, list[str]]:
    """The first prompts of each category, on one line each."""
    return {
        name: [_shortened(prompt.text) for prompt in prompts if prompt.category == name][:_EXAMPLES]
        for name in CATEGORIES
    }


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXAMPLE_LENGTH else line[: _EXAMPLE_LENGTH - 1].rstrip() + "…"
