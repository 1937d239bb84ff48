import pytest

from align_eval.render.document import Answers, Block, Figure, Paragraph, Table, Tabs, Tiles, Tokens
from align_eval.render.sources import Sources, short


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ((), ""),
        (("J1",), "J1"),
        (("J1", "J2"), "J1, J2"),
        (("J1", "J2", "J3", "J5", "P6"), "J1–J3, J5, P6"),
        (("J2", "J2", "J1"), "J2, J1"),
        (("S", "B"), "S, B"),
    ],
)
def test_keys_of_a_letter_are_drawn_together(keys, text):
    assert short(keys) == text


def test_keys_by_run_method_and_role(report):
    """Runs are PPO 42, 123, 777, then GRPO 42, 123, 777; the A/A row is the seventh."""
    sources = Sources(report)
    assert sources.run("ppo-123", "judgments") == ("J2",)
    assert sources.run("ppo-123", "responses", "judgments") == ("R2", "J2")
    assert sources.method("grpo", "policy") == ("P4", "P5", "P6")
    assert sources.all("responses") == ("R1", "R2", "R3", "R4", "R5", "R6")
    assert sources.aa("judgments") == ("J7",)
    assert sources.role("sft policy") == ("S",)
    keys = [source.key for source in sources.listed()]
    assert len(keys) == len(set(keys)) == 4 + 3 * 6 + 2


def test_every_number_has_a_source(made):
    """Sentences, tiles, and every cell with a number to sort by, but for cells of words and the ledger's settings."""
    known = {source.key for source in made.sources}
    seen = 0
    for keys in _numbers([block for section in made.sections for block in section.blocks]):
        assert keys
        assert set(keys) <= known
        seen += 1
    assert seen > 300
    assert set(made.answer.sources) <= known
    assert made.answer.sources


def _numbers(blocks: list[Block]):
    for block in blocks:
        if isinstance(block, Tabs):
            for _, inner in block.parts:
                yield from _numbers(list(inner))
        elif isinstance(block, Tiles):
            yield from (tile.sources for tile in block.tiles)
        elif isinstance(block, Table):
            yield from (cell.sources for row in block.rows for cell in row.cells if cell.value is not None)
        elif isinstance(block, Paragraph) and block.kind == "finding":
            yield block.sources
        else:
            assert isinstance(block, (Paragraph, Figure, Answers, Tokens))
