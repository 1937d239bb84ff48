import json
import os
import shutil
import signal
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from align_contracts import open_artifact, signals
from align_contracts.errors import (
    ConfigError,
    InterruptedRun,
    KindError,
    MissingError,
    PreflightError,
    VerificationError,
)
from align_mlx import adapters as lora
from align_mlx.chat import Tokens, encode_prompt
from align_mlx.compute import Compute
from align_mlx.loading import load_policy, policy_adapters
from align_mlx.resident import Resident
from align_mlx.reward import load_scorer
from align_rl import cli
from align_rl.code_size import method_lines
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.run import dataset_of, run


@pytest.fixture(autouse=True)
def searched_store(store, monkeypatch):
    """Outputs stand in their own directory, so inputs are found through the store's variable."""
    monkeypatch.setenv("ALIGN_STORE", str(store))


@pytest.fixture(scope="module")
def published(request, store, tmp_path_factory):
    """A finished run of each method, made once."""

    settings = request.getfixturevalue("settings")
    folder = tmp_path_factory.mktemp("runs")
    paths = {"sft": store / "sft", "rm": store / "rm", "data": store / "data"}
    assert run(PPOConfig(**paths, **settings, out=folder / "ppo")) == 0
    assert run(GRPOConfig(**paths, **settings, K=3, out=folder / "grpo")) == 0
    return {name: folder / name for name in ("ppo", "grpo")}


METHODS = ["ppo", "grpo"]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_publishes_a_whole_policy(published, method):
    art = open_artifact(published[method], kind="policy", deep=True)
    details = art.details
    assert (details.method, details.form, details.format, details.control) == (method, "residual", "chosen", "none")
    assert details.seed == 42
    assert art.manifest.seeds == (42,)
    assert [a.name for a in details.adapters] == ["sft", "policy"]
    assert [a.file for a in details.adapters] == ["sft.safetensors", "adapter.safetensors"]
    assert {i.role for i in art.manifest.inputs} == {"base", "policy", "reward_model", "dataset"}
    measured = {m.name for m in art.metrics()}
    assert {
        "kl", "perplexity", "reward_mean", "response_length_mean", "training_seconds", "peak_memory_bytes",
        "iterations", "controller_actions",
    } <= measured  # fmt: skip
    assert art.metric("iterations") == 3
    assert art.metric("prompts_dropped") == 1
    assert art.manifest.extensions["dropped"]["train"] == {"too_long": 1, "special": 0}
    # 2 blocks of 7 linear maps with A and B; PPO has as many again, and its head's weight and bias. B has its gradient
    # in the first update and A, behind B = 0, in the second.
    proved = details.certificate
    assert (proved.verdict, proved.tensors, proved.alive) == ("complete", *[{"grpo": 28, "ppo": 58}[method]] * 2)
    assert (proved.waiting, proved.live_updates, proved.ratio_tolerance) == ((), 2, 1e-4)
    for name in ("first_ratio_error", "first_ratio_error_max"):
        assert getattr(proved, name) == max(r[name] for r in art.read_jsonl("log")) < 1e-4
    assert art.manifest.extensions["lines_of_code"] == method_lines(method)


@pytest.mark.parametrize("method", METHODS)
def test_log_curve_and_points(published, method):
    art = open_artifact(published[method])
    log = art.read_jsonl("log")
    assert [r["iteration"] for r in log] == [1, 2, 3]
    assert all(r["first_ratio_error"] < 1e-4 for r in log)
    curve = art.read_jsonl("curve")
    assert [r["iteration"] for r in curve] == [0, 2, 3]
    assert curve[0]["kl"] == 0
    wanted = {"kl", "kl_k1", "perplexity", "reward_mean", "response_length_mean", "truncated_rate", "selected"}
    assert wanted <= curve[0].keys()
    for point in curve:
        stem = f"{point['iteration']:04d}"
        rows = art.read_jsonl(f"eval_{stem}_responses")
        assert len(rows) == 5
        assert point["reward_mean"] == pytest.approx(np.mean([r["reward"] for r in rows]), abs=1e-5)
        assert point["response_length_mean"] == pytest.approx(np.mean([len(r["tokens"]) for r in rows]))
        assert ("values" in rows[0]) == (method == "ppo")
        assert art.file(f"eval_{stem}").is_file()
    assert any(f.role == "log" and f.volatile for f in art.manifest.files)
    assert any(f.role == "curve" and not f.volatile for f in art.manifest.files)


@pytest.mark.parametrize("method", METHODS)
def test_the_selected_point_is_what_is_published(published, method):
    art = open_artifact(published[method])
    (chosen,) = [p for p in art.read_jsonl("curve") if p["selected"]]
    selection = art.details.selection
    assert selection.step == chosen["iteration"] > 0
    assert selection.gate_passed == (chosen["kl"] < chosen["target_kl"])
    for name in ("kl", "perplexity", "reward_mean", "response_length_mean"):
        assert art.metric(name) == chosen[name]
    kept, _ = lora.load(art.file(f"eval_{selection.step:04d}"))
    policy, _ = lora.load(art.file("adapter"))
    assert policy.scale == kept.scale == 2.0
    assert any(mx.any(v).item() for k, v in policy.params.items() if k.endswith("lora_b"))
    for name, value in policy.params.items():
        np.testing.assert_allclose(kept.params[name], value, rtol=2**-8, atol=1e-30)


@pytest.mark.parametrize("method", METHODS)
def test_base_and_artifact_are_enough(published, store, method, resident):
    art = open_artifact(published[method])
    _, policy = policy_adapters(art)
    assert art.file("adapter_sft").read_bytes() == (store / "sft" / "adapter.safetensors").read_bytes()
    loaded = load_policy(art, Compute(mx.float32, dense=True))
    tokens = mx.array([[2, 4, 7, 9, 33]])
    np.testing.assert_allclose(loaded.hidden(tokens), resident.hidden(tokens, (policy,)), atol=1e-4)


def test_the_critic_is_published_with_its_head(published):
    adapter, head = lora.load(open_artifact(published["ppo"]).file("critic"))
    assert adapter.rank == 4
    assert {k: v.shape for k, v in head.items()} == {"head.weight": (1, 32), "head.bias": (1,)}
    assert "critic" not in {f.role for f in open_artifact(published["grpo"]).manifest.files}


@pytest.mark.parametrize("method", METHODS)
def test_the_same_settings_give_the_same_content(published, configure, method):
    config = configure(method)
    run(config)
    assert open_artifact(config.out).content_digest == open_artifact(published[method]).content_digest


def test_another_seed_gives_another_policy(published, configure):
    config = configure("grpo", seed=123, num_iterations=1)
    run(config)
    found = open_artifact(config.out)
    assert found.details.seed == 123
    policies = [lora.load(a.file("adapter"))[0].params for a in (found, open_artifact(published["grpo"]))]
    assert not any(mx.array_equal(policies[0][k], v) for k, v in policies[1].items())


@pytest.mark.parametrize("method", METHODS)
def test_the_null_control_publishes_an_adapter_that_does_nothing(configure, method):
    config = configure(method, control="null", num_iterations=2)
    run(config)
    art = open_artifact(config.out)
    assert (art.details.control, art.details.certificate.verdict) == ("null", "null control")
    assert art.details.certificate.live_updates == art.details.certificate.alive == 0
    assert art.details.certificate.first_ratio_error < 1e-4  # that proof needs no learning
    policy, _ = lora.load(art.file("adapter"))
    for name in policy.params:
        if name.endswith("lora_a"):
            assert not mx.any(policy.params[name] @ policy.params[name[:-1] + "b"]).item()
    assert [p["kl"] for p in art.read_jsonl("curve")] == [0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_too_short_for_its_proof_says_so(configure, capsys, method):
    run(configure(method, num_iterations=1, minibatches=1, eval_prompts=1, quiet=False))
    said = capsys.readouterr().err
    tensors = {"grpo": 28, "ppo": 58}[method]  # the critic starts as the reward model, so only the actor's A wait
    assert f"note: 14 of {tensors} trainable tensors had no gradient yet after 1 live update; " in said
    assert "; first ratio off by at most " in said


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_tensor_ends_the_run_with_exit_code_4(store, settings, tmp_path, monkeypatch, capsys, method):
    """An adapter that is left out at one of its maps: nothing else would show it. PPO's critic has one there too."""
    dead, wear = "model.layers.1.mlp.up_proj", Resident._wear

    def leave_out(resident, stack):
        wear(resident, stack)
        resident.maps[dead]._worn = []

    monkeypatch.setattr(Resident, "_wear", leave_out)
    paths = {"sft": store / "sft", "rm": store / "rm", "data": store / "data", "out": tmp_path / "dead"}
    small = {name: value for name, value in settings.items() if not isinstance(value, bool)}
    flags = [text for k, v in {**paths, **small}.items() for text in (f"--{k.replace('_', '-')}", str(v))]
    monkeypatch.setattr("sys.argv", ["align-rl", method, *flags, "--no-gradient-checkpointing"])
    assert cli.main() == 4
    said = capsys.readouterr().err
    number = {"grpo": "2 of 28", "ppo": "4 of 58"}[method]
    assert f"no gradient has reached {number} trainable tensors: expected a non-zero gradient within 3 live" in said
    assert f"got none for actor.{dead}.lora_a, actor.{dead}.lora_b" in said
    assert not (tmp_path / "dead").exists()


def test_rewards_come_from_the_reward_models_own_backbone(configure, store, resident):
    # This reward model stands on the bare base, without the SFT adapter.
    config = configure("grpo", rm=store / "rm-base", num_iterations=1)
    run(config)
    rows = open_artifact(config.out).read_jsonl("eval_0000_responses")
    prompts = {r["prompt_id"]: r["prompt"] for r in open_artifact(store / "data").read_jsonl("prompts_validation")}
    turns = [Tokens(encode_prompt(resident.tokenizer, prompts[r["prompt_id"]]), tuple(r["tokens"])) for r in rows]
    expected = load_scorer(open_artifact(store / "rm-base")).score(turns)
    np.testing.assert_allclose([r["reward"] for r in rows], expected, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_4_bits_with_the_sft_adapter_in_the_stack(configure, store, method, dtype, tolerance):
    # The compute form of Metal: gradients pass through quantized products, the reference is base + SFT adapter.
    paths = {"sft": store / "sft4", "rm": store / "rm4"}
    config = configure(method, **paths, compute_form="quantized", compute_dtype=dtype, num_iterations=2)
    run(config)
    art = open_artifact(config.out)
    log = art.read_jsonl("log")
    assert log[0]["kl"] == pytest.approx(0.0, abs=tolerance)
    assert log[1]["kl"] > 1e-4
    assert all(r["first_ratio_error"] < tolerance for r in log)


def other(store, tmp_path, name, change):
    shutil.copytree(store / name, tmp_path / "copy")
    change(tmp_path / "copy")
    return tmp_path / "copy"


REFUSED = {
    "genrm policy": (lambda s, t: {"sft": s / "sft-genrm", "rm": s / "rm-genrm"}, ConfigError, "genrm format"),
    "reward model on another policy": (lambda s, t: {"rm": s / "rm-other"}, ConfigError, "another SFT policy"),
    "merged policy": (lambda s, t: {"sft": s / "sft-merged", "rm": s / "rm-merged"}, ConfigError, "merged"),
    "critic from another backbone": (lambda s, t: {"rm": s / "rm-base"}, ConfigError, "critic"),
    "more prompts to evaluate than are there": (
        lambda s, t: {"eval_prompts": 8},
        ConfigError,
        "eval_prompts ≤ 7, got 8",
    ),
    "a policy as reward model": (lambda s, t: {"rm": s / "sft"}, KindError, "reward_model"),
    "a base as policy": (lambda s, t: {"sft": s / "base"}, KindError, "policy"),
    "missing data": (lambda s, t: {"data": t / "nowhere"}, MissingError, "nowhere"),
    "no data, and a policy that names none": (lambda s, t: {"data": None}, ConfigError, "names no dataset"),
    "missing reward model": (lambda s, t: {"rm": t / "nowhere"}, MissingError, "nowhere"),
    "no prompt short enough": (lambda s, t: {"data": s / "tiny-data"}, ConfigError, "no training prompt"),
    "no such target": (lambda s, t: {"lora_targets": ("q_prj",)}, ConfigError, "q_prj"),
    "a changed reward model": (
        lambda s, t: {"rm": other(s, t, "rm", lambda p: (p / "head.safetensors").write_bytes(b"x"))},
        VerificationError,
        "head",
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_wrong_inputs_are_refused_and_leave_nothing(configure, store, tmp_path, case):
    settings, error, text = REFUSED[case]
    config = configure("ppo", **settings(store, tmp_path))
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(error, match=text):
        run(config)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == before


def test_a_finished_artifact_is_not_replaced_unless_asked(configure):
    config = configure("grpo", num_iterations=1, eval_prompts=1)
    run(config)
    digest = open_artifact(config.out).manifest_digest
    with pytest.raises(PreflightError):
        run(config)
    assert open_artifact(config.out).manifest_digest == digest
    run(configure("grpo", num_iterations=1, eval_prompts=1, seed=7, overwrite=True))
    assert open_artifact(config.out).details.seed == 7


def test_progress_is_shown_unless_quiet(configure, capsys):
    run(configure("grpo", num_iterations=1, eval_prompts=1, quiet=False))
    assert "grpo seed 42: iteration 1/1" in capsys.readouterr().err


def test_without_data_it_is_the_dataset_of_the_policy():
    found = object()
    sft = SimpleNamespace(
        manifest=SimpleNamespace(inputs=[SimpleNamespace(role="dataset")]), input={"dataset": found}.get
    )
    assert dataset_of(SimpleNamespace(data=None), sft) is found


@pytest.mark.parametrize("method", METHODS)
def test_the_log_says_what_a_watcher_needs(published, method):
    """Whose line it is and of how many; and at an evaluation point the win rate, recounted here from the answers."""
    rows = [json.loads(line) for line in (published[method] / "train.jsonl").read_text().splitlines()]
    assert {(row["method"], row["seed"], row["num_iterations"]) for row in rows} == {
        (method, 42, rows[-1]["iteration"])
    }
    last = rows[-1]["eval"]
    before, after = (
        [json.loads(line)["reward"] for line in (published[method] / f"eval/{n:04d}.jsonl").read_text().splitlines()]
        for n in (0, rows[-1]["iteration"])
    )
    assert last["win_rate"] == pytest.approx(np.mean((np.sign(np.subtract(after, before)) + 1) / 2))
    assert last["best"] == open_artifact(published[method]).details.selection.step


def test_the_log_is_strict_json(published):
    for line in (published["ppo"] / "train.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("look", [3, 30, 60])
def test_an_interrupted_run_continues_to_the_same_bytes(
    published, store, settings, tmp_path, monkeypatch, method, look
):
    """Stopped in the first evaluation, or in a rollout; the checkpoint is that of the last whole iteration."""
    kinds = {"ppo": (PPOConfig, {}), "grpo": (GRPOConfig, {"K": 3})}
    kind, more = kinds[method]
    paths = {"sft": store / "sft", "rm": store / "rm", "data": store / "data"}
    config, looks, check = kind(**paths, **settings, **more, out=tmp_path / "out"), [], signals.check

    def interrupt():
        looks.append(1)
        if len(looks) == look:
            os.kill(os.getpid(), signal.SIGINT)
        check()

    monkeypatch.setattr(signals, "check", interrupt)
    with pytest.raises(InterruptedRun, match="Run the same command again") as stop:
        run(config)
    assert stop.value.exit_code == 130
    monkeypatch.undo()
    monkeypatch.setenv("ALIGN_STORE", str(store))
    assert not config.out.exists()
    run(config)
    found, whole = open_artifact(config.out), open_artifact(published[method])
    assert found.content_digest == whole.content_digest
    assert found.details == whole.details
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
