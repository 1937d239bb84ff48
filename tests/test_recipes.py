"""The recipes against what they promise: the study's every setting, and models that fit and are what they say."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from align_rl.config import GRPOConfig, PPOConfig
from pipeline.__main__ import main
from pipeline.plan import plan
from pipeline.shape import Shape, shape_of

RECIPES = Path(__file__).parents[1] / "recipes"

# The settings of the study, written down from its text, not from the recipe. (step, setting): value.
STUDY = {
    # Base model google/gemma-2b-it, 4-bit; ultrafeedback_binarized; 10 000 rows; splits by prompt, seed 42
    ("base", "model"): "google/gemma-2b-it",
    ("base", "bits"): 4,
    ("data", "source"): "hf:HuggingFaceH4/ultrafeedback_binarized",
    ("data", "train_split"): "train_prefs",
    ("data", "test_split"): "test_prefs",
    ("data", "target_size"): 10_000,
    ("data", "seed"): 42,
    ("data", "validation"): 200,
    ("data", "test"): 300,
    # SFT: rank 16, 16 layers, lr 2e-4, 4 × 4 = 16, 3 epochs, warm-up 100, 512, checkpointing, chosen answers, scale 2
    ("sft", "format"): "chosen",
    ("sft", "lora_rank"): 16,
    ("sft", "lora_alpha"): 32.0,
    ("sft", "lora_layers"): 16,
    ("sft", "learning_rate"): 2e-4,
    ("sft", "batch_size"): 4,
    ("sft", "gradient_accumulation_steps"): 4,
    ("sft", "epochs"): 3,
    ("sft", "warmup_steps"): 100,
    ("sft", "max_seq_length"): 512,
    ("sft", "gradient_checkpointing"): True,
    # Reward model: SFT backbone, rank 8, alpha 16, lr 1e-4, batch 8, 2 epochs, 1024; −log σ alone
    ("rm", "backbone"): "policy",
    ("rm", "lora_rank"): 8,
    ("rm", "lora_alpha"): 16.0,
    ("rm", "learning_rate"): 1e-4,
    ("rm", "batch_size"): 8,
    ("rm", "epochs"): 2,
    ("rm", "max_seq_length"): 1024,
    ("rm", "margin"): 0.0,
    ("rm", "centering"): 0.0,
    # Answers for judging: temperature 0.7 for all; 300 test prompts; gpt-4o-mini
    ("responses-sft", "split"): "test",
    ("responses-sft", "temperature"): 0.7,
    ("judgments-ppo-42", "judge"): "openai:gpt-4o-mini",
}
CONTROLLED = {
    # 512 = 256 + 256, 5e-6, 16 prompts, 800 iterations, phased target, 4 minibatches, one epoch, clip 0.2, norm 0.5
    "max_seq_length": 512,
    "max_prompt_length": 256,
    "max_response_length": 256,
    "learning_rate": 5e-6,
    "batch_size": 16,
    "num_iterations": 800,
    "kl_schedule": "phased",
    "target_kl": (0.05, 0.02, 0.01),
    "controller": "lr",
    "kl_estimator": "k3",
    "minibatches": 4,
    "ppo_epochs": 1,
    "clip_range": 0.2,
    "clip_range_high": None,
    "max_grad_norm": 0.5,
    "temperature": 1.0,
    "eval_every": 50,
    "selection": "perplexity",
    "lora_rank": 16,
    "lora_alpha": 32.0,
    "lora_layers": 16,
}
PPO = {
    "gae_lambda": 0.95,
    "gae_gamma": 0.99,
    "value_coef": 0.5,
    "entropy_coef": 0.01,
    "entropy": "true",
    "reward_shaping": "eos-only",
    "whiten_advantages": True,
    "critic_init": "rm",
}
# A_i = r_i − mean(r): nothing is divided by the group's deviation
GRPO = {"K": 6, "score_normalizer": "ema", "normalizer_alpha": 0.99, "loss_type": "grpo", "scale_rewards": "none"}
# Models by what is published: parameters, norms' weights by hand (what `Shape` leaves out), licence to be accepted
MODELS = {
    # 26 blocks of 4 · 1152 + 2 · 256, and one of 1152
    "gemma-3-1b": ("google/gemma-3-1b-it", 999_885_952, 26 * (4 * 1152 + 2 * 256) + 1152),
    # 28 blocks of 2 · 1024 + 2 · 128, and one of 1024
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B", 596_049_920, 28 * (2 * 1024 + 2 * 128) + 1024),
    # 16 blocks of 2 · 2048, and one of 2048
    "llama-3.2-1b": ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, 16 * 2 * 2048 + 2048),
}


def configs(recipe: str, out: Path) -> dict[str, Any]:
    return {one.step.name: one.config for one in plan(RECIPES / f"{recipe}.toml", out, ())[1]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return configs("gemma-2b-ultrafeedback", tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize(("step", "name"), STUDY, ids=".".join)
def test_the_study_is_the_study(study, step, name):
    assert getattr(study[step], name) == STUDY[step, name]


def test_the_study_has_six_runs_under_equal_conditions(study):
    runs = {f"{method}-{seed}" for method in ("ppo", "grpo") for seed in (42, 123, 777)}
    assert {name for name in study if name.startswith(("ppo", "grpo"))} == runs
    for run in runs:
        config, own = study[run], PPO if run.startswith("ppo") else GRPO
        wanted = {**CONTROLLED, **own, "seed": int(run.partition("-")[2])}
        assert {name: getattr(config, name) for name in wanted} == wanted
        assert config.lora_alpha == 2 * config.lora_rank
    assert {f"judgments-{run}" for run in runs} < set(study)


@pytest.mark.parametrize("recipe", MODELS)
def test_the_model_has_as_many_parameters_as_is_published(recipe, tmp_path):
    name, published, norms = MODELS[recipe]
    base = configs(recipe, tmp_path)["base"]
    assert base.model == name
    shape = shape_of(base, tmp_path / "none")
    assert isinstance(shape, Shape)
    assert shape.parameters + norms == published


@pytest.mark.parametrize("recipe", MODELS)
def test_the_rollout_s_keys_and_values_fit_beside_the_weights(recipe, tmp_path):
    """16 GB; the weights in 4 bits and the cache of a decoding batch in bf16 take at most a third of it."""
    found = configs(recipe, tmp_path)
    shape = shape_of(found["base"], tmp_path / "none")
    a_token = shape.layers * 2 * shape.keys * 2
    for name in ("grpo-42", "ppo-42", "responses-sft"):
        config = found[name]
        length = (
            config.max_prompt_length + getattr(config, "max_response_length", 0) + getattr(config, "max_new_tokens", 0)
        )
        answers = min(config.rollout_rows, 96)
        assert shape.stored_bytes(4, 64) + answers * min(length, 512) * a_token < 16e9 / 3


@pytest.mark.parametrize("recipe", MODELS)
def test_a_model_s_recipe_keeps_the_study_s_data_sft_and_reward_model(recipe, tmp_path, study):
    """Equal but for the model, for RL's own settings, and for how the work is cut."""
    found, cut = configs(recipe, tmp_path), {"out", "data", "base", "sft", "rm", "token_budget", "rollout_rows"}
    for name in ("data", "sft", "rm"):
        mine, theirs = (one[name].model_dump(exclude=cut) for one in (found, study))
        assert mine == theirs
    for method, config in (("ppo", PPOConfig), ("grpo", GRPOConfig)):
        changed = {
            key
            for key in config.model_fields
            if key not in cut and getattr(found[f"{method}-42"], key) != getattr(study[f"{method}-42"], key)
        }
        rl = tomllib.loads((RECIPES / f"{recipe}.toml").read_text())["rl"]
        assert changed <= set(rl)


@pytest.mark.parametrize("recipe", [*MODELS, "gemma-2b-ultrafeedback"])
def test_every_command_is_formed_and_the_forecast_knows_the_model(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    recipe_file = RECIPES / f"{recipe}.toml"
    assert main(["--recipe", str(recipe_file), "--out", str(tmp_path), "--dry-run", "--tflops", "6.8"]) == 0
    told = capsys.readouterr().out
    _, steps = plan(recipe_file, tmp_path, ())
    assert [line.split()[0] for line in told.splitlines() if line.startswith("align-")] == [
        one.step.script for one in steps
    ]
    assert "from what is published of" in told
    assert not (tmp_path / "data").exists()
