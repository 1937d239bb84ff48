"""Every trainable tensor gets a gradient within three live updates, or the run stops and names it."""

import json

import mlx.core as mx
import pytest

from align_contracts.errors import DivergedError
from align_mlx import liveness
from align_mlx.liveness import Liveness
from align_mlx.train_state import TrainState

NONE, SOME = mx.zeros((2, 3)), mx.array([[0.0, 0.0, 0.0], [0.0, -1e-30, 0.0]])


def test_a_fresh_lora_behind_a_zero_head_is_alive_in_three_updates():
    # The head moves first, then B, then A.
    steps = [
        {"head": SOME, "b": NONE, "a": NONE},
        {"head": SOME, "b": SOME, "a": NONE},
        {"head": SOME, "b": SOME, "a": SOME},
    ]
    found = Liveness.begin(["head", "b", "a"])
    for grads, waiting in zip(steps, ({"b": 1, "a": 1}, {"a": 2}, {}), strict=True):
        found = found.after(grads, 0.1)
        assert found.waiting == waiting
    assert (found.tensors, found.live_updates) == (3, 3)


def test_one_gradient_is_enough():
    found = Liveness.begin("ab").after({"a": SOME, "b": NONE}, 0.1).after({"a": NONE, "b": NONE}, 0.1)
    assert found.waiting == {"b": 2}
    assert found.after({"a": NONE, "b": SOME}, 0.1) == Liveness(2, {}, 3)


def test_a_tensor_without_gradient_is_named_after_three_updates():
    found = Liveness.begin("ab").after({"a": SOME, "b": NONE}, 0.1).after({"a": SOME, "b": NONE}, 0.1)
    with pytest.raises(DivergedError, match=r"reached 1 of 2 trainable tensors.*none for b\.") as caught:
        found.after({"a": SOME, "b": NONE}, 0.1)
    assert caught.value.exit_code == 4


def test_of_many_dead_tensors_four_are_named():
    found = Liveness(9, dict.fromkeys("fedcba", 2))
    with pytest.raises(DivergedError, match=r"reached 6 of 9 .*none for a, b, c, d and 2 more"):
        found.after(dict.fromkeys("abcdef", NONE), 0.1)


def test_updates_at_rate_zero_do_not_count():
    grads = {"actor.a": NONE, "critic.a": SOME}
    found = Liveness.begin(grads)
    for _ in range(5):  # a critic's warm-up
        found = found.after(grads, {"actor.": 0.0, "": 0.1})
    # The critic had its gradient in its first update; the actor has not had its chance.
    assert found == Liveness(2, {"actor.a": 0}, 1)
    assert found.after({"actor.a": SOME, "critic.a": SOME}, 0.1) == Liveness(2, {}, 1)


def test_weight_decay_is_no_gradient():
    # Decay moves both tensors; only the one with a gradient is alive.
    state = TrainState.start({"dead": mx.ones((2, 3)), "live": mx.ones((2, 3))}, weight_decay=0.5)
    grads = {"dead": NONE, "live": SOME}
    liveness.watch(state, grads, 0.1)
    state.update(grads, 0.1, 1.0)
    assert state.params["dead"].max().item() < 1
    assert liveness.seen(state).waiting == {"dead": 1}


def test_nothing_is_read_once_all_are_alive():
    state = TrainState.start({"a": mx.ones((2, 3))})
    liveness.watch(state, {"a": SOME}, 0.1)
    before = json.dumps(state.memory)
    liveness.watch(state, {}, 0.1)  # no gradient is looked at
    assert json.dumps(state.memory) == before


def test_a_restored_state_goes_on_counting(tmp_path):
    state = TrainState.start({"a": mx.ones((2, 3)), "b": mx.ones((2, 3))})
    for _ in range(2):
        liveness.watch(state, {"a": SOME, "b": NONE}, 0.1)
    state.save(tmp_path)
    other = TrainState.start({"a": mx.zeros((2, 3)), "b": mx.zeros((2, 3))})
    other.restore(tmp_path)
    assert liveness.seen(other) == liveness.seen(state) == Liveness(2, {"b": 2}, 2)
    with pytest.raises(DivergedError, match="none for b"):
        liveness.watch(other, {"a": SOME, "b": NONE}, 0.1)


def watched(*steps, rate=0.1):
    state = TrainState.start(dict.fromkeys("ab", mx.ones((2, 3))))
    for grads in steps:
        liveness.watch(state, dict(zip("ab", grads, strict=True)), rate)
    return state


def test_the_certificate_of_a_whole_run():
    found = liveness.certificate(watched((NONE, SOME), (SOME, SOME), (SOME, SOME)))
    assert found.model_dump() == {
        "verdict": "complete", "tensors": 2, "alive": 2, "waiting": (), "live_updates": 2,
        "first_ratio_error": None, "first_ratio_error_max": None, "ratio_tolerance": None,
    }  # fmt: skip
    assert liveness.sentence(found) == "all 2 trainable tensors had a gradient within 2 live updates"


def test_a_run_too_short_for_its_proof_says_so():
    found = liveness.certificate(watched((NONE, SOME)))
    assert (found.verdict, found.alive, found.waiting, found.live_updates) == ("incomplete", 1, ("a",), 1)
    said = "note: 1 of 2 trainable tensors had no gradient yet after 1 live update; the run ended before its proof"
    assert liveness.sentence(found).startswith(said)


def test_learning_rate_zero_proves_nothing_and_stops_nothing():
    state = watched(*[(NONE, NONE)] * 5, rate=0.0)
    found = liveness.certificate(state)
    assert (found.verdict, found.waiting, found.live_updates) == ("incomplete", ("a", "b"), 0)
    control = liveness.certificate(state, control="null")
    assert (control.verdict, control.waiting) == ("null control", ("a", "b"))
    assert liveness.sentence(control).startswith("null control: ")


def test_the_first_ratio_stands_beside_it():
    ratio = {"first_ratio_error": 1e-7, "first_ratio_error_max": 3.4e-7, "ratio_tolerance": 1e-4}
    found = liveness.certificate(watched((SOME, SOME)), ratio=ratio)
    assert (found.first_ratio_error, found.first_ratio_error_max, found.ratio_tolerance) == (1e-7, 3.4e-7, 1e-4)
    said = "all 2 trainable tensors had a gradient within 1 live update; first ratio off by at most 3e-07"
    assert liveness.sentence(found) == said
