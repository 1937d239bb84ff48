import mlx.core as mx
import numpy as np
import pytest

from align_contracts.errors import DivergedError, NonFiniteError
from align_mlx.train_state import TrainState, warmup

SHAPES = {"actor.model.layers.0.q_proj.lora_a": (3, 2), "actor.model.layers.0.q_proj.lora_b": (2, 3), "head.bias": (1,)}


def arrays(seed: int, size: float = 1.0) -> dict[str, mx.array]:
    rng = np.random.default_rng(seed)
    return {k: mx.array(size * rng.normal(size=s), mx.float32) for k, s in SHAPES.items()}


class AdamW:
    """Loshchilov & Hutter, arXiv 1711.05101, algorithm 2, in float64, after clipping by the joint norm."""

    def __init__(self, params, decay=0.0):
        self.w = {k: np.array(v, np.float64) for k, v in params.items()}
        self.m = {k: np.zeros(v.shape) for k, v in self.w.items()}
        self.v = {k: np.zeros(v.shape) for k, v in self.w.items()}
        self.t, self.decay = 0, decay

    def step(self, grads, rate_of, max_norm):
        grads = {k: np.array(g, np.float64) for k, g in grads.items()}
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        self.t += 1
        for k, g in grads.items():
            clipped = g * min(1.0, max_norm / norm)
            self.m[k] = 0.9 * self.m[k] + 0.1 * clipped
            self.v[k] = 0.999 * self.v[k] + 0.001 * clipped**2
            m, v = self.m[k] / (1 - 0.9**self.t), self.v[k] / (1 - 0.999**self.t)
            self.w[k] -= rate_of(k) * (m / (np.sqrt(v) + 1e-8) + self.decay * self.w[k])
        return norm


def assert_close(state, reference):
    for k, w in reference.w.items():
        np.testing.assert_allclose(state.params[k], w, rtol=1e-5, atol=1e-6)


def test_update_is_adamw_with_joint_clipping():
    params = arrays(0)
    state, reference = TrainState.start(params, weight_decay=0.1), AdamW(params, 0.1)
    for step in range(4):
        grads = arrays(step + 1, size=10.0 if step % 2 else 0.01)
        norm = state.update(grads, 0.05, 0.5)
        assert norm == pytest.approx(reference.step(grads, lambda _: 0.05, 0.5), rel=1e-5)
        assert_close(state, reference)


def test_rates_by_prefix():
    params = arrays(0)
    state, reference = TrainState.start(params, weight_decay=0.1), AdamW(params, 0.1)
    for step in range(3):
        grads = arrays(step + 1)
        state.update(grads, {"actor.": 0.002, "": 0.05}, 0.5)
        reference.step(grads, lambda k: 0.002 if k.startswith("actor.") else 0.05, 0.5)
        assert_close(state, reference)


def test_what_waits_takes_no_part_in_the_step_of_the_others():
    """A gradient at rate 0 is neither in the joint norm that clips the others, nor in moments for later."""
    params, waiting, size = arrays(0), "actor.", 0.5
    state, alone = TrainState.start(params), TrainState.start({k: v for k, v in params.items() if k[:6] != waiting})
    huge = {k: 100.0 * v if k.startswith(waiting) else v for k, v in arrays(1).items()}
    norm = state.update(huge, {waiting: 0.0, "": 0.05}, size)
    assert norm == pytest.approx(alone.update({k: huge[k] for k in alone.params}, 0.05, size))
    for name, value in alone.params.items():
        assert mx.array_equal(state.params[name], value)
    moments = [m for name, pair in state.optimizer.state.items() if name.startswith(waiting) for m in pair.values()]
    assert moments
    assert not any(mx.any(m).item() for m in moments)


def test_a_rate_of_zero_freezes_its_part():
    params = arrays(0)
    state = TrainState.start(params)
    state.update(arrays(1), {"actor.": 0.0, "": 0.05}, 0.5)
    assert mx.array_equal(
        state.params["actor.model.layers.0.q_proj.lora_a"], params["actor.model.layers.0.q_proj.lora_a"]
    )
    assert not mx.array_equal(state.params["head.bias"], params["head.bias"])
    frozen = TrainState.start(params)
    frozen.update(arrays(1), {"": 0.0}, 0.5)
    assert all(mx.array_equal(frozen.params[k], v) for k, v in params.items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_everything_untouched(bad):
    state, twin = TrainState.start(arrays(0)), TrainState.start(arrays(0))
    for s in (state, twin):
        s.update(arrays(1), 0.01, 0.5)
    grads = arrays(2)
    with pytest.raises(DivergedError, match="not finite"):
        state.update({**grads, "head.bias": mx.array([bad])}, 0.01, 0.5)
    for s in (state, twin):
        s.update(arrays(3), 0.01, 0.5)
    assert all(mx.array_equal(state.params[k], v) for k, v in twin.params.items())


def test_restored_state_continues_bit_for_bit(tmp_path):
    state = TrainState.start(arrays(0), weight_decay=0.1)
    for seed in (1, 2, 3):
        state.update(arrays(seed), 0.01, 0.5)
    state.iteration, state.memory = 3, {"control": {"lr_scale": 0.1 + 0.2}, "cursor": [1, 2]}
    state.best = arrays(7)
    state.save(tmp_path)
    other = TrainState.start(arrays(99), weight_decay=0.1)
    other.restore(tmp_path)
    assert (other.iteration, other.memory) == (3, state.memory)
    assert {name: value.tolist() for name, value in other.best.items()} == {
        name: value.tolist() for name, value in state.best.items()
    }
    for seed in (4, 5, 6):
        state.update(arrays(seed), {"actor.": 0.01, "": 0.02}, 0.5)
        other.update(arrays(seed), {"actor.": 0.01, "": 0.02}, 0.5)
        assert all(mx.array_equal(other.params[k], v) for k, v in state.params.items())


def test_the_norm_is_the_same_number_in_any_order_of_names(tmp_path):
    rng = np.random.default_rng(4)
    params = {f"p{i}": mx.array(rng.normal(size=(5, 7)), mx.float32) for i in rng.permutation(40)}
    state = TrainState.start(params)
    state.save(tmp_path)
    other = TrainState.start(dict(reversed(params.items())))
    other.restore(tmp_path)
    for scale in np.geomspace(0.01, 100, 20).tolist():

        def loss(p, scale=scale):
            return scale * sum((v**2).sum() for v in p.values())

        norms = [s.update(mx.grad(loss)(s.params), 0.01, 0.5) for s in (state, other)]
        assert norms[0] == norms[1]


def test_a_fork_goes_on_alone_as_the_state_would_have():
    """With weight decay: the fork's optimizer must have it too."""
    state, twin = (TrainState.start(arrays(0), weight_decay=0.1) for _ in range(2))
    for one in (state, twin):
        one.update(arrays(1), 0.01, 0.5)
    state.memory = {"list": [1]}
    fork = state.fork()
    state.update(arrays(2), 0.5, 0.5)
    state.memory["list"].append(2)
    assert fork.memory == {"list": [1]}
    for one in (fork, twin):
        one.update(arrays(3), 0.01, 0.5)
    assert all(mx.array_equal(fork.params[name], value) for name, value in twin.params.items())


def test_warmup_rises_linearly_then_stays():
    rate = warmup(0.4, 4)
    assert [rate(s) for s in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert warmup(0.4, 0)(0) == 0.4


def snapshot(state):
    """Every array of a state, and its memory, as bytes."""
    arrays = {**state.params, **state.moments}
    return {name: bytes(memoryview(array)) for name, array in arrays.items()}, state.iteration, dict(state.memory)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["params", "m", "v"])
def test_a_step_that_would_make_something_not_finite_is_not_taken(where, bad):
    """The gradient is fine; a weight or a moment is not, so the step's result would not be."""
    state = TrainState.start(arrays(0))
    state.update(arrays(1), 0.01, 0.5)
    if where == "params":
        state.params["head.bias"] = mx.array([bad])
    else:
        state.optimizer.state["head.bias"][where] = mx.array([bad])
    before = snapshot(state)
    with pytest.raises(NonFiniteError, match="weight after the step is not finite") as caught:
        state.update(arrays(2), 0.01, 0.5)
    assert "head.bias" in caught.value.got
    assert snapshot(state) == before


def test_a_gradient_whose_square_overflows_is_not_finite():
    """1e20 squared is 1e40, beyond fp32's 3.4e38: no norm, so no direction to scale down to."""
    state = TrainState.start(arrays(0))
    before = snapshot(state)
    with pytest.raises(NonFiniteError, match="gradient is not finite: got norm inf"):
        state.update({**arrays(2), "head.bias": mx.array([1e20])}, 0.01, 0.5)
    assert snapshot(state) == before
