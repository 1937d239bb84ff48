from align_eval.render.build import document
from align_eval.render.document import Table, Tabs
from align_eval.render.sections.basis import certificates
from align_eval.render.sections.expected import expected
from align_eval.render.sources import Sources


def _tables(blocks):
    for block in blocks:
        if isinstance(block, Tabs):
            for _, inner in block.parts:
                yield from _tables(inner)
        elif isinstance(block, Table):
            yield block


def test_every_row_has_a_cell_a_column_and_every_column_a_name(report, sparse):
    for kind in (report, sparse):
        for section in document(kind).sections:
            for table in _tables(section.blocks):
                assert all(column.name for column in table.columns), section.name
                assert {len(row.cells) for row in table.rows} <= {len(table.columns)}, (section.name, table.title)


def test_the_trade_off_table_has_every_row_of_the_study(report):
    (table,) = expected(report, Sources(report)).blocks
    found = [row.cells[0].text for row in table.rows]
    for name in (
        "Variance", "Training stability", "Peak memory", "Compute per iteration", "Convergence speed", "Final win rate",
        "Hyperparameter sensitivity", "Implementation complexity", "Sample efficiency",
    ):  # fmt: skip
        assert any(one.startswith(name) for one in found)
    assert {row.cells[-1].text for row in table.rows} <= {"yes", "no", "open"}


def test_the_proofs_of_every_training_are_a_table(report):
    proved = {
        "verdict": "incomplete", "tensors": 28, "alive": 14, "waiting": ["a"] * 14, "live_updates": 1,
        "first_ratio_error": 2.54e-7, "first_ratio_error_max": 0.00153, "ratio_tolerance": 0.02,
    }  # fmt: skip
    whole = {**proved, "verdict": "complete", "waiting": [], "alive": 28, "first_ratio_error": None}
    plain = {**whole, "first_ratio_error_max": None, "ratio_tolerance": None}
    listed = [("sft", None), ("rm", plain), ("ppo-42", proved), ("grpo-42", {**whole, "first_ratio_error": 0.0})]
    changed = {**report, "certificates": [{"label": k, "certificate": v} for k, v in listed]}
    table = certificates(changed, Sources(report))
    assert [tuple(cell.text for cell in row.cells) for row in table.rows] == [
        ("SFT", "–", "–", "–", "–", "–", "–", "not recorded"),
        ("Reward model", "28", "28", "1", "–", "–", "–", "complete"),
        ("PPO 42", "28", "14", "1", "2.5e−07", "0.02", "0.0015", "incomplete, 14 waiting"),
        ("GRPO 42", "28", "28", "1", "0 (exact)", "0.02", "0.0015", "complete"),
    ]
    assert [row.cells[1].sources for row in table.rows] == [(), ("M",), ("P1",), ("P4",)]


def test_what_differs_comes_first_in_the_ledger_and_is_said(report):
    held = [
        {"name": "seed", "value": "1", "equal": True},
        {"name": "learning_rate", "value": "1 (ppo); 2 (grpo)", "equal": False},
    ]
    changed = {**report, "ledger": {**report["ledger"], "controlled": held}}
    section = next(one for one in document(changed).sections if one.name == "ledger")
    assert section.blocks[0].kind == "care"
    table = next(_tables(section.blocks))
    assert [row.cells[2].text for row in table.rows] == ["DIFFERS", "yes"]
