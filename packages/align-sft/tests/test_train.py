import json
import math
import os
import signal
from collections import Counter
from dataclasses import replace

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest

from align_contracts import open_artifact
from align_contracts.errors import ConfigError, DivergedError, InterruptedRun
from align_mlx import adapters as lora
from align_mlx import checkpoints
from align_mlx import steps as stepping
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.chat import Tokens
from align_mlx.loading import load_base, load_policy
from align_mlx.perplexity import perplexity
from align_mlx.train_state import TrainState
from align_sft import cli, train
from align_sft.gradient import accumulate, make_gradient
from align_sft.rows import encode_rows, read_rows
from tiny.poison import explode_token, spoil_token

SPEC = LoraSpec(rank=4, alpha=8.0, layers=2)


@pytest.fixture(scope="module")
def tokens(resident, make_rows):
    return encode_rows(make_rows(10, 9), resident, 512).tokens


@pytest.fixture(scope="module")
def started(resident):
    """An adapter that already changes something, and the gradient function."""
    fresh = lora.fresh(resident.maps, SPEC, mx.random.key(0))
    params = {
        k: v if k.endswith("lora_a") else 0.1 * mx.random.normal(v.shape, key=mx.random.key(i))
        for i, (k, v) in enumerate(fresh.params.items())
    }
    return params, make_gradient(resident, fresh.scale, compiled=False), fresh.scale


def test_loss_is_the_mean_surprise_of_the_answers(store, resident, tokens):
    """Without an adapter: mlx-lm's own model, one row at a time, log-softmax in float64."""
    gradient = make_gradient(resident, 2.0, compiled=False)
    params = lora.fresh(resident.maps, SPEC, mx.random.key(0)).params  # B = 0: nothing changes
    loss, _, count = accumulate(gradient, params, tokens, 4)
    model, _ = mlx_lm.load(str(store / "base"))
    model.set_dtype(mx.float32)
    total = 0.0
    for row in tokens:
        logits = np.array(model(mx.array([row.ids]))[0], np.float64)
        for t in range(len(row.prompt), len(row)):
            total += math.log(np.exp(logits[t - 1]).sum()) - logits[t - 1, row.ids[t]]
    assert count == sum(len(row.response) for row in tokens)
    assert loss == pytest.approx(total / count, rel=1e-4)
    assert perplexity(resident, (), tokens) == pytest.approx(math.exp(total / count), rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_accumulation_does_not_change_the_gradient(started, tokens, batch_size):
    params, gradient, _ = started
    whole = accumulate(gradient, params, tokens, 10)
    parts = accumulate(gradient, params, tokens[::-1], batch_size)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    for name, grad in whole[1].items():
        np.testing.assert_allclose(np.array(parts[1][name]), np.array(grad), rtol=1e-3, atol=2e-6)


def test_compile_does_not_change_the_gradient(resident, started, tokens):
    params, gradient, scale = started
    compiled = make_gradient(resident, scale, compiled=True)
    plain, fused = (accumulate(g, params, tokens, 4) for g in (gradient, compiled))
    assert fused[0] == pytest.approx(plain[0], rel=1e-5)
    for name, grad in plain[1].items():
        np.testing.assert_allclose(np.array(fused[1][name]), np.array(grad), rtol=1e-3, atol=2e-6)


def test_gradient_equals_a_finite_difference(started, tokens):
    params, gradient, _ = started
    _, grads, _ = accumulate(gradient, params, tokens, 10)
    direction = {k: mx.random.normal(v.shape, key=mx.random.key(i)) for i, (k, v) in enumerate(params.items())}
    slope = sum((grads[k] * direction[k]).sum().item() for k in params)
    step = 2e-3

    def loss(sign):
        moved = {k: params[k] + sign * step * direction[k] for k in params}
        return accumulate(gradient, moved, tokens, 10)[0]

    assert (loss(1) - loss(-1)) / (2 * step) == pytest.approx(slope, rel=0.02)


def test_the_published_policy(store):
    art = open_artifact(store / "sft", kind="policy", deep=True)
    assert (art.details.method, art.details.form, art.details.format) == ("sft", "residual", "chosen")
    entry = art.details.adapters[0]
    assert (entry.rank, entry.alpha, entry.layers) == (4, 8.0, 2)
    assert {"q_proj", "down_proj"} <= set(entry.targets)
    assert art.metric("perplexity_after") < art.metric("perplexity_before")
    assert [row["epoch"] for row in art.read_jsonl("curve")] == [0, 1, 2]
    assert [row["step"] for row in art.read_jsonl("log")] == [1, 2, 3, 4]  # 24 rows in batches of 16: 2 steps an epoch
    assert art.manifest.tokenizer_digest == art.input("base").manifest.tokenizer_digest
    rows = encode_rows(read_rows(art.input("dataset"), "chosen", "validation"), load_policy(art), 512)
    found = perplexity(load_policy(art), (), rows.tokens)
    assert found == pytest.approx(art.metric("perplexity_after"), rel=1e-4)


def test_the_same_settings_give_the_same_bytes(store, tmp_path, make_config):
    digests = set()
    for name, more in (("a", {}), ("b", {"gradient_checkpointing": False}), ("c", {"seed": 7})):
        config = make_config(store / name, max_steps=1, **more)
        train.run(config)
        digests.add((store / name / "adapter.safetensors").read_bytes())
        if name == "a":
            train.run(config.model_copy(update={"out": store / "a2"}))
            first, second = (open_artifact(store / n) for n in ("a", "a2"))
            assert first.content_digest == second.content_digest
    assert len(digests) >= 2


@pytest.mark.parametrize("done", [1, 3])
def test_an_interrupted_run_continues_to_the_same_bytes(store, make_config, monkeypatch, done):
    """Stopped after 1 of 4 steps, before every tensor has had its gradient, and after 3."""
    config = make_config(store / f"stopped-{done}", epochs=2)
    update = TrainState.update

    def interrupt(self, *args):
        if self.iteration == done - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, *args)

    monkeypatch.setattr(TrainState, "update", interrupt)
    with pytest.raises(InterruptedRun, match=f"stopped after {done} "):
        train.run(config)
    assert not config.out.exists()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="settings learning_rate"):
        train.run(config.model_copy(update={"learning_rate": 1e-4}))
    train.run(config)
    found, whole = open_artifact(config.out), open_artifact(store / "sft")
    assert found.details.certificate == whole.details.certificate
    assert found.content_digest == whole.content_digest
    assert not list(store.glob(".stopped-*.run"))


def test_the_run_certifies_that_every_tensor_learns(store):
    """2 blocks of 7 maps with A and B: B has its gradient in the first update and A, behind B = 0, in the second."""
    proved = open_artifact(store / "sft").details.certificate
    assert (proved.verdict, proved.tensors, proved.alive, proved.live_updates) == ("complete", 28, 28, 2)
    assert proved.first_ratio_error is None


def test_a_run_too_short_for_its_proof_says_so(store, make_config, capsys):
    train.run(make_config(store / "short", max_steps=1, quiet=False))
    proved = open_artifact(store / "short").details.certificate
    assert (proved.verdict, proved.alive, proved.live_updates) == ("incomplete", 14, 1)
    assert len(proved.waiting) == 14
    assert all(name.endswith("lora_a") for name in proved.waiting)
    assert "note: 14 of 28 trainable tensors had no gradient yet after 1 live update" in capsys.readouterr().err


def test_a_dead_tensor_ends_the_run_with_exit_code_4(store, monkeypatch, capsys):
    """An adapter that is left out at one of its maps: nothing else would show it."""
    dead, pair = "model.layers.1.mlp.up_proj", Adapter.pair
    monkeypatch.setattr(Adapter, "pair", lambda self, path: None if path == dead else pair(self, path))
    paths = {"base": store / "base", "data": store / "data", "out": store / "dead"}
    flags = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    monkeypatch.setattr("sys.argv", ["align-sft", "train", *flags, "--lora-rank", "4", "--epochs", "2"])
    assert cli.main() == 4
    said = capsys.readouterr().err
    assert "no gradient has reached 2 of 28 trainable tensors: expected a non-zero gradient within 3 live" in said
    assert f"got none for {dead}.lora_a, {dead}.lora_b" in said
    assert not (store / "dead").exists()


def test_rows_that_do_not_fit_are_counted(resident, make_rows):
    texts = [("hi", ""), ("hi", " "), ("hi", "\n"), ("hi", "hi <eos> you"), ("hi<end_of_turn>", "hi")]
    odd = [{"prompt_id": "e", "messages": [{"content": text} for text in turn]} for turn in texts]
    rows = [*make_rows(3, 1), *odd]
    lengths = sorted(len(t) for t in encode_rows(rows, resident, 512).tokens)
    encoded = encode_rows(rows, resident, lengths[-1] - 1)
    assert (encoded.too_long + len(encoded.tokens), encoded.empty) == (3, 3)
    assert encoded.too_long == lengths.count(lengths[-1])
    assert encoded.dropped == {"too_long": encoded.too_long, "empty": 3, "special": 2}
    assert len(encoded.ids) == len(encoded.tokens)


def test_no_row_at_all_is_an_error(make_config, tmp_path):
    with pytest.raises(ConfigError, match="no training row fits"):
        train.run(make_config(tmp_path / "o", max_seq_length=8))


@pytest.fixture
def spoilt(monkeypatch):
    """Let the base of the next run have a token that spoils or explodes: spoilt(how, row) picks one of a row's own.

    Gives the ids of the training rows that hold it, and their numbers.
    """

    def prepare(store, how, row=5):
        data = encode_rows(read_rows(open_artifact(store / "data"), "chosen", "train"), load_base(store / "base"), 512)
        counts = Counter(token for turn in data.tokens for token in set(turn.ids))
        token = min(data.tokens[row].response[:-1], key=lambda token: (counts[token], token))
        held = [i for i, turn in enumerate(data.tokens) if token in turn.ids]
        honest = train.load

        def load(*arguments):
            resident, *rows = honest(*arguments)
            how(resident, token)
            # Validation rows without it, so that it is training that meets it first.
            validation = rows[1]
            kept = [i for i, turn in enumerate(validation.tokens) if token not in turn.ids]
            tokens, ids = ([column[i] for i in kept] for column in (validation.tokens, validation.ids))
            return resident, rows[0], replace(validation, tokens=tokens, ids=ids)

        monkeypatch.setattr(train, "load", load)
        return held, [data.ids[i] for i in held]

    return prepare


def diagnosis(store, name):
    return json.loads((store / f".{name}.run" / "diagnosis.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(("how", "quantity"), [(spoil_token, "loss"), (explode_token, "gradient")])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_divergence_names_the_rows_and_keeps_the_state_before(store, make_config, spoilt, how, quantity, compiled):
    held, ids = spoilt(store, how)
    name = f"diverged-{quantity}-{compiled}"
    config = make_config(store / name, compile=compiled, checkpoint_every=1)
    rows = [set(stepping.rows_of(step, 24, 16, config.seed)) for step in range(2)]
    step = next(i for i, drawn in enumerate(rows) if drawn & set(held))
    with pytest.raises(DivergedError, match=f"the {quantity} is not finite at step {step + 1}") as caught:
        train.run(config)
    assert caught.value.exit_code == 4
    assert not (store / name).exists()
    record = diagnosis(store, name)
    drawn = stepping.rows_of(step, 24, 16, config.seed)
    assert [row["row"] for row in record["offending_rows"]] == [row for row in drawn if row in held]
    assert {row["id"] for row in record["offending_rows"]} <= set(ids)
    assert str(store / f".{name}.run" / "diagnosis.json") in str(caught.value)
    assert checkpoints.numbered(store / f".{name}.run" / "checkpoints")[0].name == f"{step:06d}"


def test_rows_left_out_are_counted_and_listed(store, make_config, spoilt):
    """Two epochs over 24 rows: each spoilt row is met once, left out for good, and in the artifact."""
    held, ids = spoilt(store, spoil_token)
    config = make_config(store / "skipping", epochs=2, skip_nonfinite_rows=len(held))
    train.run(config)
    art = open_artifact(store / "skipping", deep=True)
    assert sorted(row["row"] for row in art.manifest.extensions["skipped_rows"]) == held
    assert {row["id"] for row in art.manifest.extensions["skipped_rows"]} == set(ids)
    assert art.metric("skipped_rows") == len(held)
    log = art.read_jsonl("log")
    assert [row["skipped_rows"] for row in log][-1] == len(held)
    with pytest.raises(DivergedError, match=f"of at most {len(held) - 1}"):
        train.run(make_config(store / "skipping-less", epochs=2, skip_nonfinite_rows=len(held) - 1))
    assert not (store / "skipping-less").exists()


def test_a_run_that_stopped_goes_on_with_rows_left_out(store, make_config, spoilt):
    """The setting is no part of a run's identity: what stopped continues with it, as if it had been there at first."""
    held, _ = spoilt(store, spoil_token)
    with pytest.raises(DivergedError):
        train.run(make_config(store / "went-on"))
    train.run(make_config(store / "went-on", skip_nonfinite_rows=len(held)))
    train.run(make_config(store / "at-once", skip_nonfinite_rows=len(held)))
    one, other = (open_artifact(store / name) for name in ("went-on", "at-once"))
    assert one.file("adapter").read_bytes() == other.file("adapter").read_bytes()
    assert one.manifest.extensions["skipped_rows"] == other.manifest.extensions["skipped_rows"]


def test_a_perplexity_that_is_no_number_stops_the_run(store, make_config, monkeypatch):
    honest = train.load

    def load(*arguments):
        resident, data, validation = honest(*arguments)
        spoil_token(resident, validation.tokens[0].response[0])
        return resident, data, validation

    monkeypatch.setattr(train, "load", load)
    with pytest.raises(DivergedError, match=r"the perplexity is not finite at step 0 \(validation\)"):
        train.run(make_config(store / "unmeasured", skip_nonfinite_rows=99))
    assert diagnosis(store, "unmeasured")["offending_rows"]
    assert not (store / "unmeasured").exists()


def test_genrm_policies(store, make_config):
    train.run(make_config(store / "genrm", format="genrm", max_steps=1))
    assert open_artifact(store / "genrm").details.format == "genrm"


def test_prompts_are_not_learned(started, resident):
    """The gradient of a row does not depend on how surprising its prompt is, only the answer's tokens count."""
    params, gradient, scale = started
    row = Tokens((2, 4, 9, 9, 5), (10, 11, 5))
    loss, _, count = accumulate(gradient, params, [row], 1)
    assert count == 3
    assert loss == pytest.approx(math.log(perplexity(resident, (Adapter(params, scale),), [row])), rel=1e-5)


def test_the_base_itself_is_never_changed(store):
    """Training leaves base weights as they are: only adapters are arguments of the gradient."""
    before, after = load_base(store / "base"), load_policy(open_artifact(store / "sft"))
    name = "model.layers.0.self_attn.q_proj"
    adapter, _ = lora.load(store / "sft" / "adapter.safetensors")
    a, b = adapter.pair(name)
    difference = after.maps[name].base.weight - before.maps[name].base.weight
    np.testing.assert_allclose(np.array(difference), np.array(2.0 * (a @ b).T), atol=1e-6)


def test_quantized_compute_trains_the_same_adapter(store, make_config):
    """QLoRA proper: gradients through the 4-bit product (Metal's form) are those through the dense weights."""
    found = []
    for form in ("dense", "quantized"):
        train.run(make_config(store / form, compute_form=form, compute_dtype="float32", max_steps=2))
        found.append(open_artifact(store / form).metric("perplexity_after"))
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    adapters = [lora.load(store / form / "adapter.safetensors")[0].params for form in ("dense", "quantized")]
    for name in (k for k in adapters[0] if k.endswith("lora_b")):
        first, second = (np.array(a[name]) for a in adapters)
        assert np.mean(np.abs(first - second)) < 0.1 * np.mean(np.abs(first))
