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
    """Settle settings for rows of 100 tokens; the peak is 1000 + `kept` a row, or 1000 + 10 a row computed again."""

    def run(config, *, kept=100, limit=10_000, state=None, decoding=None):
        again = lambda: resident.blocks == SMALL_BLOCKS  # noqa: E731
        peaks(lambda n: 1000 + n * (10 if again() else kept))
        state = state or TrainState.start({"w": mx.zeros(1)})
        how = {"row_tokens": 100, "limit": limit, "decode": decoding, "answers": 4}
        return plan.settle(config, resident, state, lambda n: None, **how), state

    return run


@pytest.fixture(autouse=True)
def many_tokens(monkeypatch):
    """As on a GPU: passes of up to 1 600 tokens gain."""
    monkeypatch.setattr(plan, "pass_tokens", lambda: 1600)


def test_roomy_machines_keep_the_blocks(settle, resident):
    found, _ = settle(Settings())
    assert (found.token_budget, found.gradient_checkpointing) == (1600, False)
    assert resident.blocks == BLOCKS


def test_where_few_rows_fit_blocks_are_computed_again(settle, resident):
    """Kept, (1400 − 1000) / 150 = 2 rows fit, fewer than 4; computed again, 40, of which 16 gain."""
    found, _ = settle(Settings(memory_limit=1.0), kept=150, limit=1400)
    assert (found.token_budget, found.gradient_checkpointing) == (1600, True)
    assert resident.blocks == SMALL_BLOCKS


def test_what_is_given_is_kept_to(settle):
    found, _ = settle(Settings(token_budget=300, gradient_checkpointing=False, rollout_rows=7, memory_limit=1.0))
    assert (found.token_budget, found.gradient_checkpointing, found.rollout_rows) == (300, False, 7)


def test_answers_to_a_prompt_stay_together(settle):
    """1000 + 100 n ≤ 1999 leaves n = 9 prompts of 4 answers."""
    found, _ = settle(Settings(memory_limit=1.0, gradient_checkpointing=False), limit=1999, decoding=lambda n: None)
    assert found.rollout_rows == 36


@pytest.mark.parametrize("asked", [{}, {"token_budget": 1000, "gradient_checkpointing": False}])
def test_what_does_not_fit_is_refused_with_the_figures(settle, asked):
    limit = 1009 if not asked else 1500
    with pytest.raises(PreflightError, match="does not fit the memory") as caught:
        settle(Settings(memory_limit=1.0, **asked), limit=limit)
    assert "--memory-limit" in str(caught.value)


def test_a_continued_run_goes_on_with_its_plan(settle):
    first, state = settle(Settings(memory_limit=1.0), kept=150, limit=1400)
    again, _ = settle(Settings(), state=state)  # on a machine with room for everything
    assert again.gradient_checkpointing is True
    assert again.token_budget == first.token_budget


def test_nothing_is_tried_where_nothing_is_open(settle, peaks, resident):
    tried = peaks(lambda n: 10**12)
    config = Settings(token_budget=64, gradient_checkpointing=True, rollout_rows=1)
    state = TrainState.start({"w": mx.zeros(1)})
    assert plan.settle(config, resident, state, lambda n: None, row_tokens=9, limit=1) == config
    assert tried == []
    assert resident.blocks == SMALL_BLOCKS


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
    for again in (False, True, False):
        plan.arrange(resident, again)
        peaks.append(plan.peak_of(learn, 1))
    assert peaks[1] < min(peaks[0], peaks[2])
    for name, grad in found[0].items():
        assert mx.allclose(found[1][name], grad, rtol=1e-3, atol=1e-5), name
