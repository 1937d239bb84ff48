"""Every option of align-data has its effect."""

import json
import operator
from collections.abc import Iterator
from typing import Any

import pytest
from option_effects.effects import (
    Effect,
    Outcome,
    Runs,
    Table,
    at,
    check,
    detail,
    finished,
    inside,
    published,
    refusal,
    silent,
)

from align_data import embedded, export, run
from align_data.config import BuildConfig, ExportConfig

QUESTIONS = (
    "What is the distance to star number {}?",
    "Translate sentence number {} into French.",
    "Write a poem about wave number {}.",
)
"""One of each category: factual, instruction, creative."""


def row(number: int) -> dict[str, Any]:
    """A row with the hub's columns."""
    question = QUESTIONS[number % 3].format(number)
    turns = [[{"role": "user", "content": question}, {"role": "assistant", "content": text}] for text in "ab"]
    score = 4.0 + number % 7 * number % 11 % 6
    return {
        "prompt": question,
        "prompt_id": f"id-{number}",
        "chosen": turns[0],
        "rejected": turns[1],
        "messages": turns[0],
        "score_chosen": score,
        "score_rejected": 1.0,
    }


def prompts(split: str, *, ordered: bool = False) -> Any:
    return lambda o: (list if ordered else set)(o.column("prompt", f"prompts_{split}"))


def counted(split: str) -> Any:
    return lambda o: o.artifact.details.counts[f"prompts_{split}"]


def texts(o: Outcome) -> int:
    """How many prompts of any split the embedded world gave."""
    return sum(o.artifact.details.counts[f"prompts_{split}"] for split in ("train", "validation", "test"))


WORLD = {"source": "embedded", "embedded_prompts": 60, "target_size": 10_000}

BUILD = Table(
    BuildConfig,
    run.run,
    {
        "source": at("prefs"),
        "target_size": 40,
        "validation": 4,
        "calibration": 3,
        "gold": 5,
        "test": 6,
        "quiet": True,
    },
    {
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "source": Effect("embedded", detail("source"), to={"embedded_prompts": 60}, want="embedded"),
        "train_split": Effect("more_prefs", prompts("train")),
        "test_split": Effect("train_prefs", prompts("test")),
        "license": Effect("CC0", detail("license"), want="CC0"),
        "embedded_prompts": Effect(90, texts, given=WORLD, moves=operator.gt),
        "seed": Effect(7, prompts("validation", ordered=True)),
        # 30 sampled prompts, less 4 + 3 + 5.
        "target_size": Effect(30, counted("train"), want=18),
        "score_bins": Effect(1, prompts("train")),
        "validation": Effect(2, counted("validation"), want=2),
        "calibration": Effect(2, counted("calibration"), want=2),
        "gold": Effect(2, counted("gold"), want=2),
        "test": Effect(3, counted("test"), want=3),
    },
)


def left(name: str) -> Any:
    """The first row of a file of an export; None where there is none."""

    def see(o: Outcome) -> Any:
        path = o.folder / "out" / name
        return json.loads(path.read_text().partition("\n")[0]) if path.exists() else None

    return see


def source_name(o: Outcome) -> Any:
    return json.loads((o.folder / "out" / "align-export.json").read_text())["source"]["name"]


EXPORT = Table(
    ExportConfig,
    export.run,
    {"data": at("data"), "format": "jsonl", "quiet": True},
    {
        "data": Effect(at("data-other"), source_name, want="data-other"),
        "out": Effect(inside("elsewhere"), lambda o: {p.name for p in o.folder.iterdir()}, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "format": Effect("parquet", left("pairs/train.jsonl"), want=None),
        "chats": Effect(False, lambda o: type(left("pairs/train.jsonl")(o)["chosen"]), want=str),
        "quiet": Effect(False, silent, want=False),
    },
)
TABLES = [BUILD, EXPORT]


@pytest.fixture(scope="module", autouse=True)
def source(runs: Runs) -> Iterator[None]:
    """Add a directory of preferences to the store: 60 rows to train on, 50 others, 12 held out."""
    folder = runs.store / "prefs"
    folder.mkdir()
    for name, numbers in (("train", range(60)), ("more", range(60, 110)), ("test", range(110, 122))):
        (folder / f"{name}_prefs.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in numbers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded.world, "CORPUS_LINES", 50)
        yield


@pytest.mark.parametrize(("table", "name", "effect"), [case for table in TABLES for case in table.cases()])
def test_the_option_has_its_effect(runs: Runs, table: Table, name: str, effect: Effect) -> None:
    check(runs, table, name, effect)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_option_is_in_the_table(table: Table) -> None:
    assert set(table.options) == set(table.config.model_fields)
