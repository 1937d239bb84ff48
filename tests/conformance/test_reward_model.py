"""The reward model's line of algorithms.md: the head, the Bradley-Terry loss and its gradient, the calibration."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper

from align_mlx import batching
from align_mlx.batching import pad
from align_mlx.chat import Tokens, encode_prompt
from align_mlx.reward import Calibration, Scorer, head_scores
from align_mlx.rollout import Draw, Prompt, prompt_number, sample
from align_rm.algorithms.bradley_terry import log_sigmoid, pair_losses, pairwise_accuracy
from align_rm.algorithms.calibration import BINS, expected_calibration_error, fit_temperature, preference_nll
from align_rm.calibrate import calibrate, reward_scale
from align_rm.config import TrainConfig
from align_rm.objective import accumulate, make_gradient, split_params, zero_head
from align_rm.pairs import Pair, encode_pairs, score_pairs
from conformance.methods import NOWHERE, make_scorer
from conformance.reference import bradley_terry
from conformance.reference.transformer import Lora
from conformance.slopes import assert_gradients
from conformance.specimen import as_lora, draw, draw_rows, float64, make, specimen
from tiny.tokenizer import word_tokenizer

LEFT = draw_rows(1, [3, 9, 3, 15, 6], [4, 12, 9, 1, 30])
ANSWERS = draw_rows(2, [1] * 5, [18, 2, 9, 7, 3])
RIGHT = [Tokens(left.prompt, other.response) for left, other in zip(LEFT, ANSWERS, strict=True)]
GAPS = (0.5, 3.0, -1.0, 0.0, 2.0)
PAIRS = [Pair(str(i), a, b, gap) for i, (a, b, gap) in enumerate(zip(LEFT, RIGHT, GAPS, strict=True))]


def scores(model, rows, lora, head):
    weight, bias = head["head.weight"][0], head["head.bias"][0]
    return np.array([bradley_terry.score(model.weights, model.config, r.ids, [lora], weight, bias) for r in rows])


@pytest.mark.parametrize(
    ("family", "tied"), [("gemma", True), ("gemma2", True), ("gemma3_text", True), ("llama", False)]
)
def test_scores_are_read_off_the_last_real_token(family, tied):
    """RM: last real token, whatever is padded behind it; in the order asked for."""
    model = specimen(family, tied)
    scorer = make_scorer(model, 4)
    head = {f"head.{k}": v for k, v in float64(scorer.head).items()}
    expected = scores(model, LEFT + RIGHT, as_lora(scorer.adapter), head)
    for budget in (64, 8192):
        cut = Scorer(model.resident, scorer.adapter, scorer.head, token_budget=budget)
        np.testing.assert_allclose(np.concatenate(score_pairs(cut, PAIRS)), expected, rtol=0, atol=2e-5)


def test_head_takes_one_place_of_each_row():
    """RM: row b's score is w · h + b of the state that has read the answer's last token, and nothing of the padding.

    State t stands before answer token t, so that of an answer of n tokens is the one at n.
    """
    states = np.random.default_rng(3).normal(size=(3, 6, 4))
    states[0, 2:], states[1, 5:] = 1e4, 1e4
    head = {"weight": mx.array([[1.0, -2.0, 0.5, 3.0]]), "bias": mx.array([0.25])}
    found = head_scores(mx.array(states, mx.float32), mx.array([1, 4, 5]), head)
    exact = [states[b, n] @ [1.0, -2.0, 0.5, 3.0] + 0.25 for b, n in enumerate((1, 4, 5))]
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize(("margin", "centering"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.4, 0.3)])
def test_pair_losses_and_slopes(margin, centering):
    """RM: −log σ(r_c − r_r − margin · gap) + centering (r_c + r_r)², each option felt."""
    c, r, gaps = np.array([2.0, -0.3, 0.0, 30.0]), np.array([0.5, 1.0, 0.0, -30.0]), np.array([1.0, -2.0, 3.0, 0.5])
    arrays = [mx.array(a, mx.float32) for a in (c, r, gaps)]
    found = pair_losses(*arrays, margin=margin, centering=centering).mean().item()
    assert found == pytest.approx(bradley_terry.loss(c, r, gaps, margin, centering), rel=1e-5)
    # d/dr_c = −σ(−(r_c − r_r − margin · gap)) + 2 centering (r_c + r_r), also at 0, where a zero head starts.
    grad = mx.grad(lambda x: pair_losses(x, *arrays[1:], margin=margin, centering=centering).sum())(arrays[0])
    slope = -bradley_terry.sigmoid(-(c - r - margin * gaps)) + 2 * centering * (c + r)
    np.testing.assert_allclose(grad, slope, atol=1e-6)


def test_log_sigmoid_of_large_numbers():
    """RM: log-sigmoid neither overflows nor loses its slope: log σ(−200) = −200, log σ(200) = 0 to 1e-38."""
    value, grad = mx.value_and_grad(lambda x: log_sigmoid(x).sum())(mx.array([-200.0, 200.0, 0.0]))
    assert value.item() == pytest.approx(-200.0 - np.log(2))
    assert grad.tolist() == pytest.approx([1.0, 0.0, 0.5])


@pytest.mark.parametrize(("margin", "centering"), [(0.0, 0.0), (0.3, 0.1)])
@pytest.mark.parametrize("budget", [64, 16384])
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_loss_and_gradient_over_adapter_and_head(margin, centering, budget, backend, monkeypatch):
    """RM: mean over pairs, both answers in one batch, exact however the batch is cut; every trained array moves.

    The two answers of a pair read their prompt together where sequences are padded to 16 tokens, and apart where they
    are padded to 4: that is less work.
    """
    monkeypatch.setattr(batching, "backend", lambda: backend)
    together = pad(LEFT + RIGHT).prompt_B
    assert (None if together is None else together.tolist()) == (None if backend == "cpu" else [0, 1, 2, 3, 4] * 2)
    model = specimen("gemma")
    adapter, head = model.adapter(5), draw({"weight": np.zeros((1, 16)), "bias": np.zeros(1)}, 6, 0.5)
    params = {**adapter.params, **{f"head.{k}": v for k, v in head.items()}}
    gradient = make_gradient(
        model.resident, adapter.scale, zero_head(16), margin=margin, centering=centering, compiled=False
    )
    loss, grads = accumulate(gradient, params, PAIRS, budget)

    def exact(now):
        lora = Lora({k: v for k, v in now.items() if k.endswith(("lora_a", "lora_b"))}, adapter.scale)
        chosen, rejected = (scores(model, rows, lora, now) for rows in (LEFT, RIGHT))
        return bradley_terry.loss(chosen, rejected, np.array(GAPS), margin, centering)

    assert loss == pytest.approx(exact(float64(params)), rel=1e-5)
    if not centering:  # the bias cancels in a margin
        assert abs(grads["head.bias"].item()) < 1e-6
        grads["head.bias"] = mx.zeros(1)
    assert_gradients(grads, exact, float64(params))


def test_untrained_head_scores_nothing():
    """RM: the head starts at zero, and what is not trained is taken from it."""
    head = zero_head(16)
    assert not any(mx.any(v != 0).item() for v in head.values())
    adapter, now = split_params({"x.lora_a": mx.ones(1), "head.weight": mx.ones((1, 16))}, 2.0, head)
    assert (set(adapter.params), adapter.scale) == ({"x.lora_a"}, 2.0)
    assert (now["weight"].sum().item(), now["bias"].item()) == (16.0, 0.0)


def test_gap_is_chosen_less_rejected():
    """RM: the margin's gap, the texts in their places, and what does not fit dropped and counted."""

    base = type("Base", (), {"tokenizer": TokenizerWrapper(word_tokenizer()), "end_tokens": frozenset({1, 5})})()
    row = {"prompt_id": "a", "prompt": "w1", "chosen": "w2", "rejected": "w3 w4"}
    row |= {"score_chosen": 8.0, "score_rejected": 5.5}
    rows = [row, {**row, "rejected": " "}, {**row, "chosen": "w2 " * 9}]
    found = encode_pairs(rows, base, 13)  # ten tokens of prompt, two words, the end
    assert (len(found.kept), found.empty, found.too_long) == (1, 1, 1)
    w = 9  # the id of w0; 5 ends a turn
    assert (found.kept[0].chosen.response, found.kept[0].rejected.response) == ((w + 2, 5), (w + 3, w + 4, 5))
    assert found.kept[0].gap == 2.5


def test_accuracy_and_calibration():
    """RM: ECE and temperature before and after; equal scores are half right."""
    rng = np.random.default_rng(7)
    margins = np.concatenate([rng.normal(1.0, 3.0, 400), [0.0, 0.0]])
    assert pairwise_accuracy(margins) == pytest.approx(bradley_terry.accuracy(margins))
    temperature = fit_temperature(margins)
    assert temperature == pytest.approx(bradley_terry.best_temperature(margins), rel=1e-5)
    assert temperature > 1.5
    for t in (1.0, temperature):
        found = expected_calibration_error(margins, t)
        assert found == pytest.approx(bradley_terry.calibration_error(margins, t, BINS), abs=1e-9)
        nll = np.mean(bradley_terry.surprise(margins / t))
        assert preference_nll(margins, t) == pytest.approx(nll, rel=1e-9)


def test_calibration_is_measured_on_pairs_that_did_not_fit_it():
    """RM: ECE before and after on validation pairs, the temperature from calibration pairs where they need one."""
    model, scorer = specimen("gemma"), make_scorer(specimen("gemma"), 4)
    loud = Scorer(model.resident, scorer.adapter, {k: 9.0 * v for k, v in scorer.head.items()})
    head = {f"head.{k}": v for k, v in float64(loud.head).items()}
    swapped = [Pair(p.prompt_id, p.rejected, p.chosen, -p.gap) for p in PAIRS]
    fitted, held = [*PAIRS, swapped[0], *PAIRS[1:]], [*PAIRS, swapped[1]]
    margins = {
        name: scores(model, [p.chosen for p in pairs], as_lora(loud.adapter), head)
        - scores(model, [p.rejected for p in pairs], as_lora(loud.adapter), head)
        for name, pairs in (("fitted", fitted), ("held", held))
    }
    found = calibrate(loud, fitted, held)
    temperature = bradley_terry.best_temperature(margins["fitted"])
    assert found.accuracy == bradley_terry.accuracy(margins["held"])
    assert found.temperature == pytest.approx(temperature, rel=1e-3)
    before, after = (bradley_terry.calibration_error(margins["held"], t, BINS) for t in (1.0, temperature))
    assert (found.ece_before, found.ece_after) == pytest.approx((before, after), abs=1e-4)
    assert temperature > 2


def test_reward_scale():
    """RM: mean and std are those of answers that the SFT policy gives to calibration prompts, one each."""
    model = make("gemma")
    model.resident.tokenizer = TokenizerWrapper(word_tokenizer())
    scorer = Scorer(model.resident, model.adapter(4), make_scorer(model, 4).head)
    config = TrainConfig(**{k: v for k, v in NOWHERE.items() if k != "rm"}, seed=9, max_new_tokens=7, quiet=True)
    texts = [{"prompt_id": f"p{i}", "prompt": f"w{i} w{2 * i}"} for i in range(6)]
    found = reward_scale(config, None, scorer, texts)
    asked = [Prompt(encode_prompt(model.resident.tokenizer, t["prompt"]), prompt_number(t["prompt_id"])) for t in texts]
    answers = sample(model.resident, (), asked, draw=Draw(9), max_new_tokens=7)
    head = {f"head.{k}": v for k, v in float64(scorer.head).items()}
    raw = scores(model, [a.tokens for a in answers], as_lora(scorer.adapter), head)
    assert (found.mean, found.std, found.n) == (
        pytest.approx(raw.mean(), abs=2e-5),
        pytest.approx(raw.std(), rel=1e-4),
        6,
    )
    # On this scale those answers have the asked mean and standard deviation, and keep their order.
    scaled = Calibration(found.mean, found.std).apply(raw, mean=3.0)
    assert (scaled.mean(), scaled.std()) == pytest.approx((3.0, 1.0), abs=1e-4)
    assert np.argmax(scaled) == np.argmax(raw)
