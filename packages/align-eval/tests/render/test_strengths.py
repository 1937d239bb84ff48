import pytest

from align_eval.render.build import document
from align_eval.render.document import Figure, Table
from align_eval.render.html import page
from align_eval.render.sections.strengths import strengths
from align_eval.render.sources import Sources


@pytest.fixture
def swept(report):
    """Two runs whose reward grows with √KL, PPO's twice as fast; no gold score."""
    runs, inputs = [], []
    for place, (label, slope) in enumerate((("ppo-42", 2.0), ("grpo-42", 1.0)), 1):
        points = [
            {"strength": s, "kl": 0.04 * s * s, "reward_mean": slope * 0.2 * s, "gold": None} for s in (0.0, 0.5, 1.0)
        ]
        runs.append({"label": label, "method": label[:-3], "name": f"sweep-{label}", "digest": "ab", "points": points})
        digest = {"content_digest": "ab" * 32, "manifest_digest": "cd" * 32}
        inputs.append({"key": f"A{place}", "role": "sweep", "run": label, "name": f"sweep-{label}", **digest})
    equal = {
        "budget": 0.04,
        "methods": {
            "ppo": {"reward_mean": {"value": 0.4, "sd": None}},
            "grpo": {"reward_mean": {"value": 0.2, "sd": None}},
        },
        "difference": {"first": "ppo", "second": "grpo", "reward_mean": {"value": 0.2, "interval": None, "p": None}},
        "grid": [{"kl": 0.04, "ppo": {"reward_mean": 0.4, "gold": None}, "grpo": {"reward_mean": 0.2, "gold": None}}],
    }
    sweep = {"gold": None, "prompts": 64, "split": "validation", "temperature": 1.0, "runs": runs, "equal_kl": equal}
    return {**report, "sweep": sweep, "inputs": [*report["inputs"], *inputs]}


def test_methods_stand_side_by_side_at_equal_kl(swept):
    figure, table = strengths(swept, Sources(swept))
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    # Without a gold score there is one plot and one row.
    (panel,) = figure.panels
    assert "PPO 42 from 0.00 to 0.40" in panel.alt
    (row,) = table.rows
    assert [cell.text for cell in row.cells] == ["reward (raw score)", "0.400", "0.200", "0.200", "–"]
    assert [cell.sources for cell in row.cells[1:4]] == [("A1",), ("A2",), ("A1", "A2")]
    assert "0.0400 nats" in table.note


def test_it_stands_in_the_report_and_is_left_out_without_sweeps(swept, report):
    assert 'id="figure-strength"' in page(document(swept))
    assert report["sweep"] is None
    assert strengths(report, Sources(report)) == []
