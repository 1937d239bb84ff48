"""The trial work that a plan is made by."""

import mlx.core as mx

from align_contracts.console import left_open
from align_rl.plan import full_rows, plan


def test_trial_rows_are_full_and_every_one_has_its_own_prompt(configure):
    """150 rows over 64 words: the second token counts the rounds; no id is outside the vocabulary."""
    config = configure("grpo", max_response_length=10)
    found = full_rows((5, 6, 7), 64, 150, config)
    assert len({row.prompt for row in found.rows}) == 150
    assert {len(row.prompt) for row in found.rows} == {3}
    assert {len(row.response) for row in found.rows} == {10}
    assert max(max(row.ids) for row in found.rows) < 64
    assert found.batch.prompts_PL is None


def test_a_plan_leaves_nothing_open_and_the_state_alone(configure, start, resident, scorer):
    config = configure("ppo", token_budget=0, gradient_checkpointing=None, rollout_rows=0, memory_limit=8.0)
    _, state, rollout = start(configure("ppo"))
    before = {name: mx.array(value) for name, value in state.params.items()}
    moments = [mx.array(v) for v in state.optimizer.state["step"].reshape(1)]
    prompts = [type("P", (), {"ids": row.prompt})() for row in rollout.rows]
    found = plan(config, resident, scorer, prompts, state)
    assert not left_open(found)
    assert found.rollout_rows >= 1
    assert state.memory["plan"]["token_budget"] == found.token_budget
    assert all(mx.array_equal(value, state.params[name]) for name, value in before.items())
    assert [v.item() for v in moments] == [state.optimizer.state["step"].item()]
