from dataclasses import asdict

import mlx.core as mx
import pytest

from align_contracts.errors import DivergedError
from align_rl.algorithms.proofs import Proof

NONE, SOME = mx.zeros((2, 3)), mx.array([[0.0, 0.0, 0.0], [0.0, -1e-30, 0.0]])


def test_the_largest_first_ratio_error_is_kept():
    proof = Proof().ratio(3e-5, 4e-5, 1e-4, 0).ratio(1e-6, 5e-4, 1e-4, 1)
    assert (proof.first_ratio_error, proof.first_ratio_error_max) == (3e-5, 5e-4)


@pytest.mark.parametrize("error", [1.1e-4, float("inf"), float("nan")])
def test_another_ratio_ends_the_run(error):
    with pytest.raises(DivergedError, match="first minibatch of iteration 5") as caught:
        Proof().ratio(error, error, 1e-4, 4)
    assert caught.value.exit_code == 4


def test_a_fresh_lora_behind_a_zero_head_is_alive_in_three_updates():
    # The head moves first, then B, then A.
    steps = [
        {"head": SOME, "b": NONE, "a": NONE},
        {"head": SOME, "b": SOME, "a": NONE},
        {"head": SOME, "b": SOME, "a": SOME},
    ]
    proof = Proof()
    for grads, alive in zip(steps, (1, 2, 3), strict=True):
        proof = proof.gradients(grads, {"": 0.1})
        assert proof.alive == alive
    assert proof.waiting == {}
    assert proof.live_updates == 3


def test_a_tensor_without_gradient_is_named_after_three_updates():
    proof = Proof().gradients({"a": SOME, "b": NONE}, {"": 0.1}).gradients({"a": NONE, "b": NONE}, {"": 0.1})
    assert proof.waiting == {"b": 2}  # a has had its gradient, once is enough
    with pytest.raises(DivergedError, match=r"reached 1 of 2 trainable tensors.*none for b"):
        proof.gradients({"a": SOME, "b": NONE}, {"": 0.1})


def test_updates_at_rate_zero_do_not_count():
    grads = {"actor.a": NONE, "critic.a": SOME}
    proof = Proof()
    for _ in range(5):  # a critic warm-up
        proof = proof.gradients(grads, {"actor.": 0.0, "": 0.1})
    assert proof.waiting == {"actor.a": 0}
    assert proof.alive == 1
    assert Proof().gradients(grads, {"": 0.0}) == Proof()


def test_it_survives_as_json():
    proof = Proof().ratio(1e-5, 1e-5, 1e-4, 0).gradients({"a": SOME, "b": NONE}, {"": 0.1})
    assert Proof(**asdict(proof)) == proof
