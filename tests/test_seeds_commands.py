"""The study's own command lines: each flag of theirs is a flag of ours and sets what it meant.

Left is the command as the study's cards write it, less what ours has no use for: paths of data and of hub models, which
the artifacts know, and the name of the script. Right are the settings that it must come to.
"""

import shlex
from pathlib import Path

import pytest

from align_contracts import console
from align_contracts.errors import ConfigError
from align_eval.cli import COMMANDS as EVAL
from align_rl.cli import COMMANDS as RL
from align_rm.cli import COMMANDS as RM
from align_sft.cli import COMMANDS as SFT

PROGRAMS = {"align-sft": SFT, "align-rm": RM, "align-rl": RL, "align-eval": EVAL}
SHARED_RL = {
    "sft": Path("checkpoints/sft_merged_model"),
    "rm": Path("checkpoints/rm_model_bt"),
    "data": Path("data/processed/rl"),
    "seed": 123,
    "num_iterations": 800,
    "clip_range": 0.2,
    "kl_schedule": "phased",
}
ACTOR = "--actor-model checkpoints/sft_merged_model --rm-model checkpoints/rm_model_bt --prompts data/processed/rl"
TABLE = {
    "phase 1, the base": (
        "align-sft base --model google/gemma-2b-it --quantize 4bit --out base",
        {"model": "google/gemma-2b-it", "bits": 4},
    ),
    "phase 1": (
        "align-sft train --model base --data data --iters 5000 --batch-size 4 --lora-layers 16 --rank 16 "
        "--learning-rate 2e-4 --adapter-path ./sft_adapter",
        {
            "base": Path("base"),
            "max_steps": 5000,
            "batch_size": 4,
            "lora_layers": 16,
            "lora_rank": 16,
            "learning_rate": 2e-4,
            "out": Path("sft_adapter"),
        },
    ),
    "phase 1, the merge": (
        "align-sft merge --adapter-path ./sft_adapter --save-path ./sft_merged_model",
        {"policy": Path("sft_adapter"), "out": Path("sft_merged_model")},
    ),
    "phase 2": (
        "align-rm train --model ./sft_merged_model --data data --batch-size 8 --epochs 2 --learning-rate 1e-4 "
        "--lora-rank 8 --output ./rm_model_bt",
        {
            "sft": Path("sft_merged_model"),
            "batch_size": 8,
            "epochs": 2,
            "learning_rate": 1e-4,
            "lora_rank": 8,
            "out": Path("rm_model_bt"),
        },
    ),
    "phase 3A": (
        f"align-rl ppo {ACTOR} --seed 123 --num-iterations 800 --clip-range 0.2 --value-coef 0.5 --entropy-coef 0.01 "
        "--kl-schedule phased --output checkpoints/ppo_seed123",
        {**SHARED_RL, "value_coef": 0.5, "entropy_coef": 0.01, "out": Path("checkpoints/ppo_seed123")},
    ),
    "phase 3A, without prompts": (
        "align-rl ppo --actor-model ./sft_merged_model --rm-model ./rm_model_bt --seed 42 --num-iterations 800 "
        "--clip-range 0.2 --value-coef 0.5 --entropy-coef 0.01 --kl-schedule phased --output ./ppo_model_seed42",
        {"data": None, "seed": 42, "out": Path("ppo_model_seed42")},
    ),
    "phase 3B": (
        f"align-rl grpo {ACTOR} --seed 123 --K 6 --num-iterations 800 --clip-range 0.2 --kl-schedule phased "
        "--output checkpoints/grpo_seed123",
        {**SHARED_RL, "K": 6, "out": Path("checkpoints/grpo_seed123")},
    ),
    "phase 4": (
        "align-eval compare --ppo-logs logs/ppo_seed42 logs/ppo_seed123 --grpo-logs logs/grpo_seed42 logs/grpo_seed123 "
        "--metrics win_rate_vs_sft kl_divergence perplexity training_time vram_peak --output ./comparison_report.pdf",
        {
            "ppo_logs": (Path("logs/ppo_seed42"), Path("logs/ppo_seed123")),
            "grpo_logs": (Path("logs/grpo_seed42"), Path("logs/grpo_seed123")),
            "metrics": ("win_rate_vs_sft", "kl_divergence", "perplexity", "training_time", "vram_peak"),
            "out": Path("comparison_report"),
            "pdf": Path("comparison_report.pdf"),
        },
    ),
}


@pytest.mark.parametrize("name", list(TABLE))
def test_a_command_of_the_study_sets_what_it_meant(name):
    line, wanted = TABLE[name]
    program, *words = shlex.split(line)
    _, config = console.resolve(program, PROGRAMS[program], words)
    assert {key: getattr(config, key) for key in wanted} == wanted


@pytest.mark.parametrize("name", list(TABLE))
def test_its_flags_stand_in_the_help(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    program, command, *words = shlex.split(TABLE[name][0])
    assert console.main(program, "", PROGRAMS[program], [command, "--help"]) == 0
    page = capsys.readouterr().out
    assert all(word in page for word in words if word.startswith("--"))


@pytest.mark.parametrize("key", ["rank", "alpha", "layers", "targets"])
def test_sft_s_adapter_settings_have_the_names_of_all_stages(key, tmp_path):
    with pytest.raises(ConfigError, match=rf"unknown key '{key}'.* Did you mean lora_{key}\?"):
        console.resolve("align-sft", SFT, ["train", "--set", f"{key}=1"])
    recipe = tmp_path / "r.toml"
    recipe.write_text(f"[sft]\n{key} = 1\n")
    with pytest.raises(ConfigError, match=rf"unknown key '{key}'.* Did you mean lora_{key}\?"):
        console.resolve("align-sft", SFT, ["train", "--config", str(recipe)])
