"""Reports of studies too small to say much: no empty sentence, no empty plot, nothing said twice or without data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_study import FakeStudy

from align_contracts import open_artifact
from align_eval import compare, judge
from align_eval.config import CompareConfig, JudgeConfig
from align_eval.render.build import document
from align_eval.render.document import Block, Document, Figure, Paragraph, Tabs, Tiles
from align_eval.render.text import MISSING

METHODS = (("ppo", 0.18), ("grpo", 0.24))


def made(root, *, methods=METHODS, seeds=(42,), prompts=12, aa=False, same=False) -> Document:
    """A study, judged and compared; with `same` all its answers differ but please the judge alike."""
    study = FakeStudy(root, prompts=prompts, validation=4)
    texts = {"texts": ["Here so amber."] * prompts} if same else {}
    study.make_responses(study.sft, skill=0.45, texts=["Here amber."] * prompts if same else None)
    names = []
    if aa:
        study.make_responses(study.sft, skill=0.45, seed=1, name="responses-sft-aa", **texts)
        names.append("sft-aa")
    for method, gain in methods:
        for seed in seeds:
            policy = study.make_policy(method, seed, gain=gain, lessons=False)
            study.make_responses(policy, skill=0.45 + gain, seed=seed, **texts)
            names.append(policy.name)
    judgments = [root / f"judgments-{name}" for name in names]
    for name, out in zip(names, judgments, strict=True):
        candidate, baseline = root / f"responses-{name}", root / "responses-sft"
        judge.run(JudgeConfig(candidate=candidate, baseline=baseline, out=out, quiet=True))
    compare.run(CompareConfig(judgments=judgments, out=root / "report", quiet=True))
    return document(open_artifact(root / "report").read_json("report"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> dict[str, Document]:
    return {
        "two prompts": made(tmp_path_factory.mktemp("prompts"), prompts=2),
        "one method": made(tmp_path_factory.mktemp("method"), methods=METHODS[:1]),
        "nothing decided": made(tmp_path_factory.mktemp("ties"), seeds=(42, 123), aa=True, same=True),
    }


def blocks(document: Document) -> Iterator[Block]:
    """Everything that stands in a report, that in tabs too."""
    waiting: list[Block] = [block for section in document.sections for block in section.blocks]
    while waiting:
        block = waiting.pop(0)
        yield block
        if isinstance(block, Tabs):
            waiting += [inner for _, found in block.parts for inner in found]


@pytest.mark.parametrize("kind", ["two prompts", "one method", "nothing decided"])
def test_no_sentence_is_empty_and_none_stands_twice(tiny, kind):
    document = tiny[kind]
    found = [block.text for block in blocks(document) if isinstance(block, Paragraph)]
    texts = [document.answer.text, document.caveat.text, *found]
    tiles = [tile for block in blocks(document) if isinstance(block, Tiles) for tile in block.tiles]
    for text in (*texts, *(tile.below for tile in tiles)):
        assert MISSING not in text.replace(f"0{MISSING}", "")
        assert not any(odd in text for odd in (" ,", "  ", "()", "None", "nothing to nothing", "of ppo", "of grpo"))
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("kind", ["two prompts", "one method", "nothing decided"])
def test_no_plot_is_empty(tiny, kind):
    for block in blocks(tiny[kind]):
        if isinstance(block, Figure):
            rows = [row for panel in block.panels for row in panel.alt.rstrip(".").split("; ")]
            assert not all(row.endswith(MISSING) for row in rows), block.name


def test_what_one_seed_does_not_show_is_not_said(tiny):
    said = " ".join(block.text for block in blocks(tiny["two prompts"]) if isinstance(block, Paragraph))
    # Both methods won every pair that was decided; two prompts do not make that certain.
    assert "[100.0, 100.0]" not in said
    assert "Over 1 seed" not in said
    assert "all seeds" not in str([block for block in blocks(tiny["two prompts"]) if isinstance(block, Figure)])


def test_ties_alone_show_no_equality(tiny):
    document = tiny["nothing decided"]
    said = " ".join(block.text for block in blocks(document) if isinstance(block, Paragraph))
    assert document.answer.text.startswith("Undecided: ")
    assert "no pair was decided" in said
    assert "quality" not in said  # nothing varied, so no test of equality was made
