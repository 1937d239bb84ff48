"""Small hand-made preference data for the tests of this package."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align_data.rows import Prompt, Row, normalise
from tiny.rows import turns

SHARED = Path(__file__).parents[4] / "shared"

QUESTIONS = (
    "What is the distance to star number {}?",
    "Translate sentence number {} into French.",
    "Write a poem about wave number {}.",
)
"""One question of each category, in the order factual, instruction, creative."""


def _raw_row(question: str, good: str = "a good answer", bad: str = "bad", **changes: Any) -> dict[str, Any]:
    row = {
        "prompt": question,
        "prompt_id": f"id of {question}",
        "chosen": turns(question, good),
        "rejected": turns(question, bad),
        "messages": turns(question, good),
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    }
    return {**row, **changes}


@pytest.fixture
def raw_row() -> Callable[..., dict[str, Any]]:
    """Makes a row with the hub's columns; keywords replace columns."""
    return _raw_row


@pytest.fixture
def raw_rows() -> Callable[..., list[dict[str, Any]]]:
    """Makes `count` rows over as many prompts: categories in turn, scores of the chosen answers 4 to 9."""

    def make(count: int, start: int = 0) -> list[dict[str, Any]]:
        return [
            _raw_row(
                QUESTIONS[number % 3].format(number),
                f"good answer {number}",
                f"bad answer {number}",
                score_chosen=4.0 + number % 6,
            )
            for number in range(start, start + count)
        ]

    return make


@pytest.fixture
def make_prompt() -> Callable[..., Prompt]:
    """Makes a prompt with some rows that all have one score."""

    def make(
        text: str,
        *,
        score: float = 8.0,
        rows: int = 1,
        category: str = "factual",
        origin: Any = "train",
        checks: dict[str, Any] | None = None,
    ) -> Prompt:
        members = tuple(Row(text, f"id-{text}", f"good {n}", f"bad {n}", score, 1.0, origin) for n in range(rows))
        return Prompt(normalise(text), f"id-{text}", text, origin, members, category, checks)

    return make


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes splits in the hub's layout and returns the directory."""

    def write(form: str = "jsonl", name: str = "prefs", **splits: list[dict[str, Any]]) -> Path:
        folder = tmp_path / name / ("data" if form == "parquet" else ".")
        folder.mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
            if form == "parquet":
                import pyarrow as pa
                import pyarrow.parquet as pq

                pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
            elif form == "jsonl.gz":
                (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
            else:
                (folder / f"{split}.jsonl").write_bytes(lines)
        return tmp_path / name

    return write


@pytest.fixture
def alpaca_prefs() -> Path:
    """The development preference data beside the checkout."""
    directory = SHARED / "data" / "alpaca-prefs"
    if not directory.is_dir():
        pytest.skip("needs shared/data/alpaca-prefs beside the checkout")
    return directory
