"""The data card as a page of Markdown with text bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from align_data.categories import CATEGORIES
from align_data.clean import REASONS

_BLOCKS = "▏▎▍▌▋▊▉█"
_BAR = 16


def render(card: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        card: what `card.build` returned.

    Returns:
        Markdown, ending in a line break.
    """
    sections = (
        _head(card),
        _notes(card),
        _splits(card),
        _rows(card),
        _duplicates(card),
        _histograms("Scores", "score", card["scores"]),
        _histograms("Lengths in words", "words", card["words"]) + _length_notes(card),
        _categories(card),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def bar(value: int, largest: int, width: int = _BAR) -> str:
    """Draw a number as a bar of text, in eighths of a character.

    Args:
        value: not negative.
        largest: the number of a full bar.
        width: characters of a full bar.

    Returns:
        The bar; a positive number always shows.
    """
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(round(value * width * 8 / largest), 1)
    return "█" * (eighths // 8) + (_BLOCKS[eighths % 8 - 1] if eighths % 8 else "")


def _head(card: Mapping[str, Any]) -> list[str]:
    source, settings = card["source"], card["settings"]
    by_way = f", by way of {source['imported']['name']}" if source["imported"] else ""
    return [
        "# Data card",
        "",
        f"- Source: **{source['name']}**{by_way}",
        f"- Revision: {source['revision'] or 'none'}",
        f"- Licence: {source['license'] or 'not stated by the source'}",
        f"- Split by prompt with seed {settings['seed']}, before anything else; "
        f"sample of at most {_number(settings['target_size'])} rows, "
        f"stratified by `score_chosen` in {settings['score_bins']} bins",
        f"- Leakage: **{card['leakage']['total']}** prompts shared by any two splits "
        f"({len(card['leakage']['shared_prompts'])} pairs of splits checked, in all files)",
    ]


def _notes(card: Mapping[str, Any]) -> list[str]:
    if not card["notes"]:
        return []
    return ["## Not as asked", "", *(f"- {note}" for note in card["notes"])]


def _splits(card: Mapping[str, Any]) -> list[str]:
    columns = ("asked", "prompts", *CATEGORIES, "pairs", "sft")
    rows = [[name, *(_number(row[column]) for column in columns)] for name, row in card["splits"].items()]
    totals = [sum(row[column] or 0 for row in card["splits"].values()) for column in columns[1:]]
    rows.append(["all", "", *(_number(total) for total in totals)])
    lines = ["## Splits", "", *_table(("split", *columns[:-1], "SFT rows"), rows)]
    if card["corpus"] is not None:
        lines += ["", f"`corpus.jsonl` has {_number(card['corpus'])} texts and holds no test prompt."]
    return lines


def _rows(card: Mapping[str, Any]) -> list[str]:
    rows = card["rows"]
    parts = ", ".join(f"{part} {_number(count)}" for part, count in rows["read_by_part"].items())
    dropped = {reason: count for reason, count in rows["dropped"].items() if count}
    lines = [
        "## Rows",
        "",
        f"Read {_number(rows['read'])} ({parts}), dropped {_number(sum(dropped.values()))}, "
        f"kept {_number(rows['kept'])}, used {_number(rows['used'])}.",
    ]
    if dropped:
        table = [[f"`{reason}`", REASONS[reason], _number(count)] for reason, count in dropped.items()]
        lines += ["", *_table(("dropped", "because", "rows"), table, left=2)]
    return lines


def _duplicates(card: Mapping[str, Any]) -> list[str]:
    prompts, duplicates = card["prompts"], card["duplicates"]
    facts = (
        ("distinct prompts found", prompts["found"]),
        ("prompts in no split (more than asked for)", prompts["unused"]),
        ("prompts with several rows (kept together)", prompts["with_several_rows"]),
        ("prompts in both parts of the source (kept out of the test unless left over)", prompts["in_both_parts"]),
        ("prompts whose identifier was missing or not unique (now a digest of the text)", prompts["replaced_ids"]),
        ("repeated rows dropped", duplicates["rows_dropped"]),
        ("SFT answers chosen more than once (written once)", duplicates["sft_answers_merged"]),
        (
            "test prompts that are, punctuation aside, another split's prompt or a part of one",
            duplicates["near_duplicates_of_test"],
        ),
    )
    return ["## Prompts and duplicates", "", *_table(("what", "count"), [[k, _number(v)] for k, v in facts])]


def _histograms(title: str, unit: str, data: Mapping[str, Any]) -> list[str]:
    """One line a bin, one column of bars for each series; empty bins at the end are left out."""
    names = list(data["histograms"])
    filled = [place for place, counts in enumerate(zip(*data["histograms"].values(), strict=True)) if any(counts)]
    labels = _bin_labels(data["edges"], data["top"])[: max(filled, default=0) + 1]
    width = max(len(label) for label in (*labels, unit))
    lines = [f"## {title}", "", "```text"]
    lines.append((f"{unit:>{width}}  " + "  ".join(f"{name:<{_BAR + 8}}" for name in names)).rstrip())
    for place, label in enumerate(labels):
        cells = []
        for name in names:
            counts = data["histograms"][name]
            drawn = f"{bar(counts[place], max(counts)):<{_BAR}} {_number(counts[place]):>7}"
            cells.append(drawn)
        lines.append(f"{label:>{width}}  " + "  ".join(cells))
    lines += ["```", ""]
    figures = ("mean", "median", "p90", "max")
    table = [
        [name, *(_number(row[figure]) if figure in row else "" for figure in figures)]
        for name, row in data["summaries"].items()
    ]
    return lines + _table(("", *figures), table)


def _length_notes(card: Mapping[str, Any]) -> list[str]:
    if card["chosen_longer"] is None:
        return []
    return [
        "",
        f"The preferred answer has more words in {100 * card['chosen_longer']:.1f} % of the pairs. "
        "Token lengths are counted, and long rows dropped, by the stage that owns the tokenizer.",
    ]


def _categories(card: Mapping[str, Any]) -> list[str]:
    rules = [[name, _number(count)] for name, count in card["category_rules"].items()]
    lines = ["## Categories", "", "What decided each prompt's category:", ""]
    lines += _table(("category and rule", "prompts"), rules)
    for name, examples in card["examples"].items():
        if examples:
            lines += ["", f"Training prompts called {name}:", ""]
            lines += ["> " + "\n>\n> ".join(_escaped(example) for example in examples)]
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A Markdown table, aligned in the source too; the first `left` columns are text, the others numbers."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * max(width, 3) if place < left else "-" * (max(width, 3) - 1) + ":" for place, width in enumerate(widths)
    ]
    return [line(head), f"| {' | '.join(rule)} |", *(line(row) for row in rows)]


def _bin_labels(edges: Sequence[float], top: float | None) -> list[str]:
    """Labels such as `1 – 2`; without a top the last bin is open."""
    texts = [f"{edge:g}" for edge in edges]
    return [f"{low} – {high}" for low, high in pairwise(texts)] + [
        f"{texts[-1]} +" if top is None else f"{texts[-1]} – {top:g}"
    ]


def _number(value: float | None) -> str:
    """A count with blanks between thousands, or a figure with two decimals; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.2f}"
    return f"{int(value):,}".replace(",", " ")


def _escaped(text: str) -> str:
    """Quote a prompt so that Markdown shows it as it is."""
    for mark in "\\`*_<>#|[]":
        text = text.replace(mark, f"\\{mark}")
    return text
