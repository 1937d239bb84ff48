"""Settings of the two commands, frozen and checked; the defaults are the study's."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from align_contracts.console import aliases, runtime
from align_mlx.settings import ComputeSettings, GuardSettings, PassSettings, ResumeSettings, RolloutSettings


def setting(default: Any, description: str, group: str, **kw: Any) -> Any:
    """Declare a field that decides the result, under a heading of the help."""
    return Field(default, description=description, json_schema_extra={"group": group}, **kw)


class TrainConfig(PassSettings, RolloutSettings, ResumeSettings, GuardSettings):
    """`align-rm train`: LoRA and a scalar head on the SFT policy, by Bradley-Terry."""

    sft: Path = runtime(..., "SFT policy artifact.", json_schema_extra=aliases("--policy", "--model", "--actor-model"))
    data: Path = runtime(..., "Dataset artifact.")
    out: Path = runtime(..., "Directory of the new reward_model artifact.", json_schema_extra=aliases("--output"))
    overwrite: bool = runtime(False, "Replace an existing artifact.")
    quiet: bool = runtime(False, "Show no progress.")

    backbone: Literal["policy", "base"] = setting("policy", "What the adapter sits on.", "adapter")
    lora_rank: int = setting(8, "LoRA rank r.", "adapter", ge=1)
    lora_alpha: float = setting(16.0, "LoRA alpha; the scale is alpha / rank.", "adapter", gt=0)
    lora_layers: int = setting(
        64, "How many of the last blocks are adapted; more than there are: all.", "adapter", ge=1
    )
    lora_targets: tuple[str, ...] = setting((), "Names of the linear maps to adapt; none: all.", "adapter")
    split: Literal["train", "gold"] = setting("train", "Pairs to learn from.", "data")
    max_pairs: int | None = setting(None, "Learn from this many pairs only, drawn by the seed.", "data", ge=1)
    max_seq_length: int = setting(1024, "Pairs with a longer answer are dropped and counted, in tokens.", "data", ge=8)
    learning_rate: float = setting(1e-4, "Learning rate after warm-up.", "optimizer", ge=0)
    schedule: Literal["constant", "cosine"] = setting(
        "constant", "Learning rate after warm-up: as it is, or cosine to a tenth.", "optimizer"
    )
    warmup_steps: int = setting(0, "Optimizer steps of linear warm-up.", "optimizer", ge=0)
    batch_size: int = setting(8, "Pairs of an optimizer step.", "optimizer", ge=1)
    epochs: int = setting(2, "Passes over the pairs.", "optimizer", ge=1)
    max_steps: int | None = setting(None, "Stop after this many optimizer steps.", "optimizer", ge=1)
    max_grad_norm: float = setting(1.0, "Joint norm at which gradients are clipped.", "optimizer", gt=0)
    weight_decay: float = setting(0.0, "AdamW weight decay.", "optimizer", ge=0)
    seed: int = setting(42, "Seed of the adapter, of the order of pairs and of the sampled answers.", "optimizer", ge=0)
    margin: float = setting(0.0, "How much of the data's score gap the scores must differ by.", "loss", ge=0)
    centering: float = setting(0.0, "Weight of the squared sum of a pair's scores.", "loss", ge=0)
    calibration_prompts: int = setting(200, "SFT answers whose scores set the reward scale.", "calibration", ge=2)
    max_new_tokens: int = setting(256, "Longest of these answers, in tokens.", "calibration", ge=1)
    compile: bool = setting(True, "Compile the gradient for every batch shape.", "compute")


class EvalConfig(ComputeSettings):
    """`align-rm eval`: accuracy and calibration on held-out pairs."""

    rm: Path = runtime(..., "Reward model artifact.")
    data: Path | None = runtime(None, "Dataset artifact; default: the one the model was trained on.")
    split: Literal["validation", "test", "calibration", "gold", "train"] = setting(
        "validation", "Pairs to evaluate on.", "data"
    )
    token_budget: int = setting(0, "Most padded tokens of one pass; 0: what suits the machine.", "compute", ge=0)
    json_output: bool = runtime(False, "Print one JSON object.", json_schema_extra={"aliases": ["--json"]})
