"""The guard on scenes made by hand: what it finds, what it leaves out, what it writes, and when it stops."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_contracts.errors import DivergedError, NonFiniteError
from align_mlx import diagnosis
from align_mlx.adapters import Adapter
from align_mlx.batching import pad
from align_mlx.guard import Guard, Scene, largest_logit, left_out, norm, require, title
from align_mlx.logprobs import policy_stats
from align_mlx.prefix import states
from align_mlx.train_state import TrainState
from tiny.poison import explode_token, spoil_array, spoil_token

NAN, INF = float("nan"), float("inf")
ERROR = NonFiniteError("loss", got="nan")


def refuse(text: str) -> float:
    raise AssertionError(f"{text} is no JSON")


def read(folder):
    """Read a diagnosis as strictly as JSON is meant."""
    return json.loads((folder / "diagnosis.json").read_text(), parse_constant=refuse)


@pytest.fixture
def scene():
    """Row i of four has the loss losses[i]."""

    def make(losses, state=None, **changes):
        state = state or TrainState.start({"a": mx.array([3.0, 4.0]), "b": mx.array([12.0])})
        names = [{"id": f"p{i}"} for i in range(len(losses))]
        return Scene(7, "gradient", state, names, lambda i: {"tokens": 5, "loss": losses[i]}, **changes)

    return make


@pytest.fixture
def guard(resident, tmp_path):
    """A guard that may leave out `limit` rows."""
    return lambda limit=0: Guard("sft", tmp_path / "run", limit, resident)


def test_it_stops_and_names_rows_and_file(guard, scene, tmp_path):
    with pytest.raises(DivergedError) as caught:
        guard().survivors(ERROR, scene([1.0, NAN, 2.0, -INF], settings={"learning_rate": 1e-4}))
    message = str(caught.value)
    assert "the loss is not finite at step 7 (gradient)" in message
    assert "2 of 4 rows: p1, p3" in message
    assert str(tmp_path / "run" / "diagnosis.json") in message
    assert caught.value.exit_code == 4
    record = read(tmp_path / "run")
    assert record["offending_rows"] == [{"id": "p1"}, {"id": "p3"}]
    assert [(row["id"], row["loss"]) for row in record["rows"]] == [("p1", "nan"), ("p3", "-inf"), ("p0", 1), ("p2", 2)]
    assert (record["stage"], record["step"], record["phase"], record["not_finite"]) == ("sft", 7, "gradient", "loss")
    assert record["norms"]["parameters"] == {"all": 13, "b": 12, "a": 5}  # 3² + 4² = 5², 5² + 12² = 13²
    assert record["settings"] == {"learning_rate": 1e-4}
    assert record["last_good"] == {"step": 6}
    assert record["environment"]["dtype"] == "float32"
    assert record["environment"]["mlx"] == mx.__version__
    assert "--skip-nonfinite-rows 2" in record["what_to_try"][0]


def test_allowed_rows_are_left_out_and_listed(guard, scene, tmp_path):
    found = scene([1.0, NAN, 2.0, 3.0])
    assert guard(2).survivors(ERROR, found) == [0, 2, 3]
    assert left_out(found.state) == [{"step": 7, "id": "p1"}]
    assert read(tmp_path / "run")["skipped_rows"] == [{"step": 7, "id": "p1"}]
    assert guard(2).survivors(ERROR, replace(found, step=8)) == [0, 2, 3]  # the second one allowed
    with pytest.raises(DivergedError, match="2 rows had been left out before, of at most 2"):
        guard(2).survivors(ERROR, replace(found, step=9))
    assert [row["step"] for row in left_out(found.state)] == [7, 8]


def test_what_is_kept_between_steps_is_never_changed_in_place(guard, scene):
    """A state saved before must not learn of rows that were left out afterwards."""
    found = scene([1.0, NAN])
    guard(2).survivors(ERROR, found)
    before = found.state.fork()
    guard(2).survivors(ERROR, replace(found, step=8))
    assert len(left_out(before)) == 1


def test_a_step_goes_on_without_the_rows_left_out_now_and_before(guard, scene):
    """Rows 10, 11, 12 are drawn, 11 is spoilt; in the next epoch it is not drawn again, though it is alone then."""
    losses = {10: 1.0, 11: NAN, 12: 2.0}
    state, tried = scene([]).state, []

    def take(rows):
        tried.append(list(rows))
        if any(np.isnan(losses[row]) for row in rows):
            raise ERROR
        return sum(losses[row] for row in rows)

    def described(rows):
        names = [{"id": f"p{row}", "row": row} for row in rows]
        return replace(scene([losses[row] for row in rows], state), names=names)

    assert guard(1).step([12, 11, 10], state, take, described) == 3
    assert guard(1).step([11, 10], state, take, described) == 1
    assert guard(1).step([11], state, take, described) == 0
    assert tried == [[12, 11, 10], [12, 10], [10], []]
    assert left_out(state) == [{"step": 7, "id": "p11", "row": 11}]


def test_a_batch_of_one_may_be_left_out_whole(guard, scene):
    assert guard(1).survivors(ERROR, scene([NAN])) == []


@pytest.mark.parametrize(
    ("losses", "changes"),
    [
        ([1.0, 2.0], {}),  # none is to blame
        ([NAN, NAN, NAN, 1.0], {}),  # three of at most two
        ([NAN, 1.0], {"learns": False}),  # rows that are fixed
        ([NAN, 1.0], {"weights": {"base": {"w": mx.array([NAN])}}}),  # a weight is to blame
    ],
)
def test_what_is_not_for_single_rows_stops_all_the_same(guard, scene, losses, changes):
    found = scene(losses, **changes)
    with pytest.raises(DivergedError):
        guard(2).survivors(ERROR, found)
    assert left_out(found.state) == []


def test_weights_are_searched(guard, scene, tmp_path, resident):
    state = TrainState.start({"a": mx.array([1.0, NAN, INF]), "b": mx.zeros(1)})
    state.optimizer.state["b"]["v"] = mx.array([INF])
    head = {"reward model": {"head.weight": mx.array([0.0, -INF])}}
    with pytest.raises(DivergedError, match=r"weights of the trained: a \(1 NaN and 1 inf of 3\)"):
        guard().survivors(ERROR, scene([NAN], state, weights=head))
    rows = [(w["group"], w["tensor"], w["nan"], w["inf"], w["elements"]) for w in read(tmp_path / "run")["weights"]]
    assert rows == [("trained", "a", 1, 1, 3), ("optimizer", "b/v", 0, 1, 1), ("reward model", "head.weight", 0, 1, 2)]
    assert "validate the inputs" in read(tmp_path / "run")["what_to_try"][0]


def test_the_base_and_its_shared_adapters_are_searched(new_resident, scene, tmp_path, adapter):
    resident = new_resident()
    name, module = next(iter(resident.maps.items()))
    module.base.weight = spoil_array(module.base.weight, places=3)
    resident.shared = (Adapter({**adapter.params, f"{name}.lora_b": mx.full((4, 1), INF)}),)
    with pytest.raises(DivergedError, match=rf"weights of the base: {name}.base.weight \(3 NaN of"):
        Guard("rm", tmp_path, 0, resident).survivors(ERROR, scene([NAN]))
    assert [w["group"] for w in read(tmp_path)["weights"]] == ["base", "shared adapter 1"]


def test_rows_that_overflow_together_only(guard, scene, tmp_path):
    with pytest.raises(DivergedError, match="no single one of 2 rows; together they overflow"):
        guard().survivors(ERROR, scene([3e38, 3e38]))
    assert read(tmp_path / "run")["offending_rows"] == []
    assert "lower --learning-rate" in read(tmp_path / "run")["what_to_try"][0]


def test_a_trial_writes_nothing(resident, scene, tmp_path):
    with pytest.raises(DivergedError, match=r"p0\. Next: look"):
        Guard("sft", None, 0, resident).survivors(ERROR, scene([NAN, 1.0]))
    assert not list(tmp_path.iterdir())


def test_gradients_that_are_not_finite_come_first_in_the_list(guard, scene, tmp_path):
    grads = {f"g{i}": mx.array([float(i)]) for i in range(12)} | {"worst": mx.array([NAN])}
    with pytest.raises(DivergedError):
        guard().survivors(ERROR, scene([NAN, 1.0], grads=grads))
    norms = read(tmp_path / "run")["norms"]["gradients"]
    assert norms == {"all": "nan", "worst": "nan", **{f"g{i}": i for i in range(11, 4, -1)}}


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_require_names_the_first_quantity(value):
    require(loss=1.0, largest_value=-1e30)
    with pytest.raises(NonFiniteError, match="the largest value is not finite: got") as caught:
        require(loss=1.0, largest_value=value, reward=value)
    assert caught.value.quantity == "largest value"


def test_titles():
    assert title({"id": "p"}) == "p"
    assert title({"id": "p", "answer": 2}) == "p (answer 2)"


def test_norm_is_the_joint_one():
    assert norm({"a": mx.array([[3.0], [4.0]]), "b": mx.array([12.0])}) == 13
    assert norm({"a": mx.array([1e20])}) == INF  # its square overflows fp32, as the clip's does


def test_the_largest_logit_is_found_in_any_block(resident, plain, rows, monkeypatch):
    monkeypatch.setattr("align_mlx.guard.TOKENS", 3)
    row = rows[3]
    found = largest_logit(resident, states(resident, pad([row], share=False))[:, : len(row.response)])
    logits = plain([*row.prompt, *row.response])[len(row.prompt) - 1 : -1]
    assert found == pytest.approx(np.abs(logits).max(), rel=1e-4)


def test_a_logit_that_is_no_number_is_the_largest(resident, monkeypatch):
    monkeypatch.setattr("align_mlx.guard.TOKENS", 2)
    states_BSD = spoil_array(mx.ones((1, 5, resident.hidden_size)))
    assert np.isnan(largest_logit(resident, states_BSD))


def test_plain_is_strict_json():
    value = {"a": [NAN, INF, -INF, 1.5], 2: (True, None, "x")}
    assert diagnosis.plain(value) == {"a": ["nan", "inf", "-inf", 1.5], "2": [True, None, "x"]}


def test_a_newer_diagnosis_replaces_the_older(tmp_path):
    for step in (1, 2):
        path = diagnosis.write(tmp_path / "run", {"step": step})
    assert (path, read(tmp_path / "run")) == (tmp_path / "run" / "diagnosis.json", {"step": 2})
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["diagnosis.json"]


def test_advice_depends_on_what_was_found(resident, new_resident):
    compute = resident.compute
    many = diagnosis.remedies("loss", False, 4, 4, 0, compute)
    assert not any("skip" in text for text in many)
    assert not any("float32" in text for text in many)  # it is that already
    assert "float32" in diagnosis.remedies("loss", False, 4, 4, 0, new_resident(dtype=mx.bfloat16).compute)[1]
    assert "--skip-nonfinite-rows 5" in diagnosis.remedies("loss", False, 2, 4, 3, compute)[0]
    assert any("calibration" in text for text in diagnosis.remedies("reward", False, 4, 4, 0, compute))
    assert any("target-kl" in text for text in diagnosis.remedies("KL", False, 4, 4, 0, compute))


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_spoilt_token_spoils_the_rows_that_hold_it(new_resident, rows, value):
    resident = new_resident()
    token = rows[3].response[4]
    held = [token in row.prompt or token in row.response for row in rows]
    assert 0 < sum(held) < len(rows)
    for share in (True, False):
        before = policy_stats(new_resident(), (), pad(rows, share=share)).logprobs_BT
        spoil_token(resident, token, value)
        logprobs = np.array(policy_stats(resident, (), pad(rows, share=share)).logprobs_BT)
        assert [not np.isfinite(row).all() for row in logprobs] == held
        sound = [i for i, hit in enumerate(held) if not hit]
        np.testing.assert_allclose(logprobs[sound], np.array(before)[sound], atol=1e-5)


def test_an_exploding_token_leaves_the_forward_pass(new_resident, rows, adapter):
    resident = new_resident()
    token = rows[3].response[4]

    def loss(params, row):
        return policy_stats(resident, (Adapter(params, 2.0),), pad([row], share=False)).logprobs_BT.sum()

    few = [rows[3], next(row for row in rows if token not in row.prompt + row.response)]
    before = [mx.value_and_grad(loss)(adapter.params, row) for row in few]
    explode_token(resident, token)
    after = [mx.value_and_grad(loss)(adapter.params, row) for row in few]
    assert [a[0].item() for a in after] == [b[0].item() for b in before]
    assert [norm(a[1]) for a in after] == [INF, pytest.approx(norm(before[1][1]), rel=1e-5)]
