"""Two processes compute what one does: gradients within fp32 rounding, and the same answers, advantages, decisions."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from align_mlx.world import ALONE
from distributed.measure import ROUNDING, Found, apart, measure
from distributed.ring import ring
from distributed.world_of_toys import trainings

pytestmark = pytest.mark.skipif(not mx.distributed.is_available("ring"), reason="this MLX has no ring backend")


@pytest.fixture(scope="module")
def alone(store: Path) -> Found:
    return measure(trainings(store), ALONE)


@pytest.fixture(scope="module")
def together(store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    out = tmp_path_factory.mktemp("together")
    (out / "settings.json").write_text(trainings(store).model_dump_json())
    for one in ring("-m", "distributed.measure", str(out / "settings.json"), str(out)):
        assert one.code == 0, one.err
    return [dict(np.load(out / f"{rank}.npz")) for rank in range(2)]


def test_both_know_the_same_to_the_last_bit(together: list[Found]) -> None:
    first, second = together
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("kind", ["sft", "rm", "ppo", "grpo"])
def test_gradients_are_those_of_one_process(alone: Found, together: list[Found], kind: str) -> None:
    names = [name for name in alone if name.startswith(f"{kind} ") and " gradient " in name]
    assert len(names) > 20
    assert all(np.abs(alone[name]).max() > 0 for name in names)
    assert apart(alone, together[0], kind) <= ROUNDING


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_the_same_answers_token_by_token(alone: Found, together: list[Found], method: str) -> None:
    for name in ("answers", "truncated"):
        np.testing.assert_array_equal(together[0][f"{method} {name}"], alone[f"{method} {name}"])
    rows = alone[f"{method} answers"].tolist()
    assert len({tuple(row) for row in rows}) == len(rows)  # the prompt that stands there twice got other answers


def test_what_is_measured_and_decided_is_the_same(alone: Found, together: list[Found]) -> None:
    """Scores, log-probs, whitened advantages, the normaliser, facts of the log, and what the controller does."""
    for name in (name for name in alone if "gradient" not in name):
        np.testing.assert_allclose(together[0][name], alone[name], rtol=2e-4, atol=2e-5, err_msg=name)
    for method in ("ppo", "grpo"):
        np.testing.assert_array_equal(together[0][f"{method} decision"], alone[f"{method} decision"])
    assert alone["ppo decision"][4] == 1  # it did act
    learned = alone["ppo advantages"][alone["ppo logprobs"] != 0]
    assert learned.mean() == pytest.approx(0.0, abs=1e-5)  # whitened over all rows, not over those of a process
    assert learned.std() == pytest.approx(1.0, abs=1e-5)
