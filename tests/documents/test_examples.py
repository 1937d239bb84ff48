"""Every example of every page: given for real in a miniature of the study, or held to the code as `ways` says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from align_contracts import open_artifact
from documents import ways
from documents.giving import give
from documents.pages import FIRST, ROOT, blocks, examples, pages
from documents.world import World, inside

PAGES = sorted(pages(), key=lambda path: path.relative_to(ROOT).as_posix() != FIRST)
BY_PAGE = {path.relative_to(ROOT).as_posix(): examples(path) for path in PAGES}
EXAMPLES = [example for found in BY_PAGE.values() for example in found]
PROGRAMS = {
    page: found
    for page, found in (
        (path.relative_to(ROOT).as_posix(), [one for one in blocks(path) if one.language == "python"]) for path in PAGES
    )
    if found and page != ways.APPLIED  # has a test of its own, in a copy of the sources
}
GIVEN = {page for page, found in BY_PAGE.items() if any(ways.way(one) in ("run", "shell") for one in found)}
OTHERS = sorted((GIVEN | PROGRAMS.keys()) - {FIRST, ways.APPLIED})


def what_came_back_is_what_left(folder: Path) -> None:
    """An adapter and a dataset that went out and came in again are the same."""
    policy, sft = (open_artifact(folder / "runs" / name, "policy") for name in ("imported", "sft"))
    assert policy.details.adapters[0].rank == sft.details.adapters[0].rank
    again, data = (open_artifact(folder / "runs" / name, "dataset") for name in ("again", "data"))
    rows = {(row["prompt"], row["chosen"], row["rejected"]) for row in data.read_jsonl("pairs_train")}
    assert again.read_json("card")["rows"]["read"] == len(rows)
    assert list((folder / "runs/tracking/tensorboard").rglob("events.out.tfevents.*"))


CAME_OF = {"docs/interop.md": what_came_back_is_what_left}
"""What else has to be true after the examples of a page."""


def test_the_readme_s_chain_makes_every_stage_s_artifact(chain):
    made = {path.name for path in (chain.folder / "runs").iterdir() if not path.name.startswith(".")}
    assert made >= {"data", "base", "sft", "rm", "ppo-42", "grpo-42", "responses-sft", "judgments-ppo-42", "report"}


@pytest.mark.parametrize("page", OTHERS)
def test_the_examples_of_a_page_do_what_it_says(page, chain, done, tmp_path):
    world = World(tmp_path, chain)
    give(world, BY_PAGE[page], done)
    for program in PROGRAMS.get(page, ()):
        with inside(world.folder):
            exec(compile("\n" * (program.line - 1) + program.text, program.page, "exec"), {"__name__": "example"})
    CAME_OF.get(page, lambda folder: None)(world.folder)


@pytest.mark.parametrize("example", [one for one in EXAMPLES if ways.way(one) == "nox"], ids=lambda one: one.where)
def test_a_session_exists_and_takes_what_it_is_given(example, tmp_path):
    ways.check_nox(example, tmp_path)


def test_what_is_too_dear_to_run_resolves():
    dear = [one for one in EXAMPLES if ways.way(one) == "resolved"]
    assert dear
    for example in dear:
        ways.resolve(example)


def test_the_marks_of_pytest_exist():
    for example in EXAMPLES:
        if ways.way(example) == "pytest":
            ways.check_pytest(example)


def test_nothing_stands_in_a_page_that_no_test_knows():
    assert [f"{one.where}: {one.command}" for one in EXAMPLES if ways.way(one) == "unknown"] == []


def test_no_reason_has_outlived_its_example():
    commands = {example.command for example in EXAMPLES}
    assert [one for one in ways.ELSEWHERE if one not in commands] == []
    assert [one for one in ways.RESOLVED if not any(re.search(one, command) for command in commands)] == []


def test_no_example_hides_in_another_kind_of_block():
    """A command outside of ```console is one that no test gives; a synopsis has a word in capitals or an ellipsis."""
    hidden = [
        f"{block.page}: {line}"
        for path in PAGES
        for block in blocks(path)
        if block.language not in ("console", "python", "toml", "diff")
        for line in block.text.splitlines()
        if re.match(r"\$ |uv run |align-(contracts|data|sft|rm|rl|eval) [a-z]", line)
        and not re.search(r"[A-Z]{4}|…|→|──|   ", line)
    ]
    assert hidden == []
