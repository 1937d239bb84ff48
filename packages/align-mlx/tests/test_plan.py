"""Choosing how work is cut: the arithmetic on made-up peaks, and real peaks of a small model."""

import mlx.core as mx
import pytest

from align_contracts.errors import PreflightError
from align_mlx import plan
from align_mlx.adapters import Adapter, LoraSpec, fresh
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.loading import load_base
from align_mlx.logprobs import policy_stats
from align_mlx.settings import PassSettings, RolloutSettings
from align_mlx.softmax import BLOCKS, SMALL_BLOCKS
from align_mlx.train_state import TrainState
from tiny.models import make_model, save_model
from tiny.tokenizer import word_tokenizer


class Settings(PassSettings, RolloutSettings):
    """What a stage's settings have."""


@pytest.fixture
def resident(tmp_path):
    save_model(tmp_path / "base", *make_model("gemma"), word_tokenizer())
    return load_base(tmp_path / "base", Compute(mx.float32, dense=True))


@pytest.fixture
def peaks(monkeypatch):
    """Let work peak as a function says instead of as it does; give the list of what was tried."""
    tried: list[int] = []

    def fake(function):
        monkeypatch.setattr(plan, "peak_of", lambda work, n: (tried.append(n), function(n))[1])
        return tried

    return fake


@pytest.mark.parametrize(
    ("most", "limit", "expected"),
    [
        (64, 1000, (9, 1000)),  # 100 + 100 n ≤ 1000: n = 9, exactly
        (64, 999, (8, 900)),
        (4, 10**6, (4, 500)),  # no more than asked for
        (64, 200, (1, 200)),  # two do not
        (64, 199, (1, 200)),  # not even one, and its peak says so
        (1, 200, (1, 200)),
    ],
)
def test_the_largest_work_that_fits_an_affine_peak(peaks, most, limit, expected):
    peaks(lambda n: 100 + 100 * n)
    assert plan.largest(lambda n: None, most, limit) == expected


def test_a_peak_that_bends_upwards_is_found_by_trying(peaks):
    """n² from 10 on where 1 and 2 promised a line: the line says n = 32 for a limit of 400, the truth is 20."""
    tried = peaks(lambda n: 10 + 10 * n if n < 10 else n * n)
    assert plan.largest(lambda n: None, 64, 400) == (20, 400)
    assert tried == [1, 2, 39, 35, 31, 28, 25, 22, 20]  # (400 − 30) / 10 more than two, then an eighth less each time


@pytest.fixture
def settle(resident, peaks):
    """Settle settings for rows of 100 tokens; the peak is 1000 and, a row, `kept`, or `again` where blocks are computed
    again, or 10 in small cuts.
    """

    def run(config, *, kept=100, again=30, limit=10_000, state=None, decoding=None):
        def row():
            return kept if not computed_again(resident) else 10 if resident.blocks == SMALL_BLOCKS else again

        peaks(lambda n: 1000 + n * row())
        state = state or TrainState.start({"w": mx.zeros(1)})
        how = {"row_tokens": 100, "limit": limit, "decode": decoding, "answers": 4}
        return plan.settle(config, resident, state, lambda n: None, **how), state

    return run


def computed_again(resident):
    return getattr(resident.model.layers[0], "_keeps_input_only", False)


@pytest.fixture(autouse=True)
def many_tokens(monkeypatch):
    """As on a GPU: passes of up to 1 600 tokens gain."""
    monkeypatch.setattr(plan, "pass_tokens", lambda: 1600)


def test_roomy_machines_keep_the_blocks(settle, resident):
    found, _ = settle(Settings())
    assert (found.token_budget, found.gradient_checkpointing) == (1600, False)
    assert resident.blocks == BLOCKS


@pytest.mark.parametrize(("again", "rows", "blocks"), [(30, 6, BLOCKS), (50, 16, SMALL_BLOCKS)])
def test_where_few_rows_fit_blocks_are_computed_again(settle, resident, again, rows, blocks):
    """0.85 · 1400 = 1190. Kept, 190 / 150 = 1 row fits, fewer than 4. Computed again, 190 / 30 = 6 or 190 / 50 = 3; in
    small cuts, 19, of which 16 gain.
    """
    found, _ = settle(Settings(memory_limit=1.0), kept=150, again=again, limit=1400)
    assert (found.token_budget, found.gradient_checkpointing) == (100 * rows, True)
    assert computed_again(resident)
    assert resident.blocks == blocks


def test_what_is_given_is_kept_to(settle):
    found, _ = settle(Settings(token_budget=300, gradient_checkpointing=False, rollout_rows=7, memory_limit=1.0))
    assert (found.token_budget, found.gradient_checkpointing, found.rollout_rows) == (300, False, 7)


def test_answers_to_a_prompt_stay_together(settle):
    """1000 + 100 n ≤ 0.85 · 1999 leaves n = 6 prompts of 4 answers."""
    found, _ = settle(Settings(memory_limit=1.0, gradient_checkpointing=False), limit=1999, decoding=lambda n: None)
    assert found.rollout_rows == 24


def test_room_is_left_for_what_two_passes_do_not_show(settle):
    """1000 + 10 n ≤ 0.85 · 1300 = 1105: n = 10 rows of the 16 that gain; 1300 would hold them all."""
    found, _ = settle(Settings(memory_limit=1.0), again=40, limit=1300)
    assert found.token_budget == 1000


def test_one_row_may_take_the_room_that_is_left(settle):
    """1010 is more than 0.85 · 1010, and there is nothing smaller to try."""
    found, _ = settle(Settings(memory_limit=1.0), limit=1010)
    assert found.token_budget == 100


@pytest.mark.parametrize("asked", [{}, {"token_budget": 1000, "gradient_checkpointing": False}])
def test_what_does_not_fit_is_refused_with_the_figures(settle, asked):
    limit = 1009 if not asked else 1500
    with pytest.raises(PreflightError, match="does not fit the memory") as caught:
        settle(Settings(memory_limit=1.0, **asked), limit=limit)
    assert "--memory-limit" in str(caught.value)


def test_a_continued_run_goes_on_with_its_plan(settle, resident):
    first, state = settle(Settings(memory_limit=1.0), kept=150, again=50, limit=1400)
    again, _ = settle(Settings(), state=state)  # on a machine with room for everything
    assert again.gradient_checkpointing is True
    assert resident.blocks == SMALL_BLOCKS
    assert again.token_budget == first.token_budget


def test_a_plan_of_before_small_cuts_had_a_name_has_them(settle, resident):
    state = TrainState.start({"w": mx.zeros(1)})
    state.memory["plan"] = {"token_budget": 100, "gradient_checkpointing": True, "rollout_rows": 4}
    settle(Settings(), state=state)
    assert resident.blocks == SMALL_BLOCKS


def test_nothing_is_tried_where_nothing_is_open(settle, peaks, resident):
    tried = peaks(lambda n: 10**12)
    config = Settings(token_budget=64, gradient_checkpointing=True, rollout_rows=1)
    state = TrainState.start({"w": mx.zeros(1)})
    assert plan.settle(config, resident, state, lambda n: None, row_tokens=9, limit=1) == config
    assert tried == []
    assert computed_again(resident)
    assert resident.blocks == BLOCKS


def test_arranging_changes_the_peak_and_not_the_gradient(resident):
    """Two blocks kept hold more than one block and two inputs."""
    adapter = fresh(resident.maps, LoraSpec(4, 8.0, 2), mx.random.key(0))
    rows = [Tokens((i + 1,), tuple(3 + (i + t) % 40 for t in range(255))) for i in range(8)]

    def learn(n):
        def loss(params):
            return policy_stats(resident, (Adapter(params, 2.0),), pad(rows)).logprobs_BT.sum()

        found.append(mx.grad(loss)(adapter.params))
        mx.eval(found[-1])

    found, peaks = [], []
    for arrangement in ((False, False), (True, False), (True, True), (False, False)):
        plan.arrange(resident, *arrangement)
        peaks.append(plan.peak_of(learn, 1))
    assert max(peaks[1:3]) < min(peaks[0], peaks[3])
    for name, grad in found[0].items():
        assert all(mx.allclose(other[name], grad, rtol=1e-3, atol=1e-5) for other in found[1:]), name
