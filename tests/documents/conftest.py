"""The chain in miniature, made once by the examples of the first page."""

from __future__ import annotations

import shutil

import pytest

from documents.giving import give
from documents.pages import FIRST, ROOT, Example, examples
from documents.world import World

SECOND = (
    "align-eval respond --policy runs/grpo-42 --rm runs/rm --data runs/data --out runs/responses-grpo-42",
    "align-eval judge --candidate runs/responses-grpo-42 --baseline runs/responses-sft --out runs/judgments-grpo-42",
)
"""What the pipeline makes of GRPO as well; other pages show it, the first one leaves it out."""


@pytest.fixture(scope="session")
def done() -> set[str]:
    """What has been done already, on whatever page."""
    return set()


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, done: set[str]) -> World:
    """The world after the first page's chain."""
    world = World(tmp_path_factory.mktemp("chain"))
    first, waits = [], []  # what looks at artifacts/embedded waits until the chain stands there
    for example in examples(ROOT / FIRST):
        (waits if "artifacts/embedded" in example.command else first).append(example)
    give(world, [*first, *(Example(FIRST, 0, command, 0, ()) for command in SECOND)], done)
    shutil.copytree(world.folder / "runs", world.folder / "artifacts/embedded")
    give(world, waits, done)
    return world
