"""Settings of the commands, frozen and checked; the defaults are the study's."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from align_contracts.console import aliases, planned, runtime
from align_contracts.errors import ConfigError
from align_contracts.hub_names import HUB, means_path, require_directory
from align_mlx.settings import (
    GROUP,
    RESUME,
    ComputeSettings,
    GuardSettings,
    PassSettings,
    ResumeSettings,
    TrackingSettings,
)


def setting(default: Any, description: str, group: str, *also: str, **kw: Any) -> Any:
    """Declare a field that decides the result, under a heading of the help; `also` are further flags."""
    return Field(default, description=description, json_schema_extra={"group": group, **aliases(*also)}, **kw)


def path(description: str, *also: str) -> Any:
    """Declare a path that has to be given; `also` are further flags."""
    return runtime(..., description, json_schema_extra=aliases(*also))


def source_name(model: str) -> str:
    """Name where a model comes from: ``local:NAME`` for a directory, else ``hf:NAME``.

    A directory laid out as the hub's client keeps it (``models--OWNER--NAME/snapshots/COMMIT``) is that model: a copy
    of the cache on a machine without a network gives the same artifact as the download.
    """
    path = Path(model)
    if not path.is_dir():
        return HUB + model.removeprefix(HUB)
    kept = path.resolve().parts[-3:]
    if len(kept) == 3 and kept[0].startswith("models--") and kept[1] == "snapshots":
        return HUB + kept[0].removeprefix("models--").replace("--", "/", 1)
    return f"local:{path.resolve().name}"


def require_source(model: str) -> None:
    """Raise MissingError where a model is named as a directory that is not there; what may be of the hub may pass."""
    if means_path(model):
        require_directory(model, "a directory with a model, or a name of the hub, OWNER/NAME")


class Settings(BaseModel):
    """What every command's config has in common: frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quiet: bool = runtime(False, "Show no progress.")


def _bits(given: Any) -> Any:
    return int(given.removesuffix("bit")) if given in ("0", "4", "8", "4bit", "8bit") else given


Bits = Annotated[Literal[4, 8, 0], BeforeValidator(_bits)]
"""Bits of a weight; ``4bit`` is understood."""


class BaseConfig(TrackingSettings, ResumeSettings, GuardSettings, Settings):
    """`align-sft base`: import a model, or train the small embedded one."""

    out: Path = runtime(..., "Directory of the new base_model artifact.")
    overwrite: bool = runtime(False, "Replace an existing artifact.")
    model: str | None = setting(
        None, "Model directory, or a name on the Hugging Face hub: OWNER/NAME or hf:OWNER/NAME.", "import"
    )
    revision: str | None = setting(None, "Revision of a hub model.", "import")
    license: str | None = setting(
        None, "Licence to record; default: the artifact's, the model card's, or the data's.", "import"
    )
    embedded: bool = setting(False, "Train a small Gemma on the data's own corpus; needs no download.", "embedded")
    data: Path | None = runtime(
        None, "Dataset artifact with a corpus (for --embedded).", json_schema_extra={"group": "embedded"}
    )
    bits: Bits = setting(
        4, "Bits of the stored weights, also written as 4bit; 0 keeps bfloat16.", "storage", "--quantize"
    )
    group_size: Literal[32, 64, 128] = setting(64, "Weights that share a scale.", "storage")

    vocab_size: int = setting(1024, "Most tokens of the embedded tokenizer.", "embedded", ge=128, le=65536)
    hidden_size: int = setting(128, "Width of the model.", "embedded", ge=32)
    num_layers: int = setting(4, "Blocks.", "embedded", ge=1)
    num_heads: int = setting(4, "Query heads.", "embedded", ge=1)
    num_kv_heads: int = setting(1, "Key and value heads.", "embedded", ge=1)
    head_dim: int = setting(32, "Width of a head.", "embedded", ge=8)
    intermediate_size: int = setting(512, "Width inside the MLP.", "embedded", ge=32)
    steps: int = setting(600, "Pre-training steps.", "embedded", ge=1)
    batch_tokens: int = setting(2048, "Padded tokens of a step.", "embedded", ge=64)
    processes: int = setting(
        1,
        "Processes that compute a step together, each its rows; the last bits depend on it.",
        "embedded",
        ge=1,
        le=64,
    )
    max_length: int = setting(64, "Longer lines of the corpus are cut here, in tokens.", "embedded", ge=8)
    learning_rate: float = setting(3e-3, "Peak learning rate: warm-up, then cosine to a tenth.", "embedded", gt=0)
    warmup_steps: int = setting(50, "Steps of linear warm-up.", "embedded", ge=0)
    weight_decay: float = setting(0.01, "AdamW weight decay.", "embedded", ge=0)
    max_grad_norm: float = setting(1.0, "Joint norm at which gradients are clipped.", "embedded", gt=0)
    seed: int = setting(42, "Seed of weights and batches.", "embedded", ge=0)
    checkpoint_every: int = runtime(100, "Steps between checkpoints.", ge=1, json_schema_extra=RESUME)

    def require_source(self) -> None:
        """Raise MissingError where the model is a directory that is not there."""
        if self.model is not None:
            require_source(self.model)

    def identity(self) -> Self:
        """Give the settings as the artifact records them: the model by its name, never by a path."""
        return self if self.model is None else self.model_copy(update={"model": source_name(self.model)})

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.embedded == (self.model is not None):
            raise ValueError("give either --embedded (with --data) or --model")
        if self.embedded and self.data is None:
            raise ValueError("--embedded needs --data, whose corpus it trains on")
        return self

    @model_validator(mode="after")
    def _heads_share(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                "query heads share key and value heads evenly",
                expected="num_heads that is a multiple of num_kv_heads",
                got=f"{self.num_heads} and {self.num_kv_heads}",
            )
        return self


class TrainConfig(PassSettings, ResumeSettings, GuardSettings, Settings):
    """`align-sft train`: QLoRA on completions."""

    base: Path = path("Base model artifact.", "--model")
    data: Path = runtime(..., "Dataset artifact.")
    out: Path = path("Directory of the new policy artifact.", "--adapter-path", "--output")
    overwrite: bool = runtime(False, "Replace an existing artifact.")

    format: Literal["chosen", "genrm"] = setting("chosen", "Learn chosen answers, or to write a score.", "data")
    max_seq_length: int = setting(512, "Longer rows are dropped and counted, in tokens.", "data", ge=8)
    lora_rank: int = setting(16, "LoRA rank r.", "adapter", "--rank", ge=1)
    lora_alpha: float = setting(32.0, "LoRA alpha; the scale is alpha / rank.", "adapter", gt=0)
    lora_layers: int = setting(16, "How many of the last blocks are adapted.", "adapter", ge=1)
    lora_targets: tuple[str, ...] = setting((), "Names of the linear maps to adapt; none: all.", "adapter")
    learning_rate: float = setting(2e-4, "Learning rate after warm-up.", "optimizer", ge=0)
    schedule: Literal["constant", "cosine"] = setting(
        "constant", "Learning rate after warm-up: as it is, or cosine to a tenth.", "optimizer"
    )
    warmup_steps: int = setting(100, "Optimizer steps of linear warm-up.", "optimizer", ge=0)
    batch_size: int = setting(4, "Most rows of a micro-batch.", "optimizer", ge=1)
    gradient_accumulation_steps: int = setting(4, "Micro-batches of an optimizer step.", "optimizer", ge=1)
    epochs: int = setting(3, "Passes over the rows.", "optimizer", ge=1)
    max_steps: int | None = setting(None, "Stop after this many optimizer steps.", "optimizer", "--iters", ge=1)
    max_grad_norm: float = setting(1.0, "Joint norm at which gradients are clipped.", "optimizer", gt=0)
    weight_decay: float = setting(0.0, "AdamW weight decay.", "optimizer", ge=0)
    seed: int = setting(42, "Seed of the adapter and of the order of rows.", "optimizer", ge=0)
    gradient_checkpointing: bool | None = planned(
        True, "Keep only block inputs and compute the rest again: less memory, more time; none: if need be.", GROUP
    )
    compile: bool = setting(True, "Compile the gradient for every batch shape.", "compute")


class EvalConfig(ComputeSettings, Settings):
    """`align-sft eval`: perplexity; for genrm also the written scores."""

    policy: Path = runtime(..., "Policy artifact.")
    data: Path | None = runtime(None, "Dataset artifact; default: the one the policy was trained on.")
    split: Literal["validation", "train"] = setting("validation", "Rows to evaluate on.", "data")
    max_seq_length: int = setting(512, "Longer rows are dropped and counted, in tokens.", "data", ge=8)
    max_rows: int | None = setting(None, "Evaluate on the first rows only.", "data", ge=1)
    max_new_tokens: int = setting(48, "Longest written score, in tokens (genrm).", "data", ge=1)
    json_output: bool = runtime(
        False, "Print one JSON object.", json_schema_extra={"aliases": ["--json"], "group": "output"}
    )


class MergeConfig(ComputeSettings, Settings):
    """`align-sft merge`: base and adapters in one set of weights."""

    policy: Path = path("Residual policy artifact.", "--adapter-path")
    out: Path = path("Directory of the new policy artifact.", "--save-path")
    overwrite: bool = runtime(False, "Replace an existing artifact.")
    data: Path | None = runtime(None, "Dataset artifact; default: the one the policy was trained on.")
    bits: Bits = setting(
        8, "Bits of the merged weights, also written as 8bit; 0 keeps bfloat16.", "storage", "--quantize"
    )
    group_size: Literal[32, 64, 128] = setting(64, "Weights that share a scale.", "storage")
    max_kl: float = setting(0.02, "Refuse a merge farther than this from base + adapters, nats a token.", "check", ge=0)
    force: bool = runtime(False, "Publish a merge above --max-kl all the same.")
    max_rows: int = setting(64, "Validation rows of the check.", "check", ge=1)
    max_seq_length: int = setting(512, "Longer rows are dropped, in tokens.", "check", ge=8)


class ExportConfig(Settings):
    """`align-sft export`: a policy's adapters for other programs."""

    policy: Path = runtime(..., "Residual policy artifact.")
    out: Path = runtime(..., "Directory to write.")
    overwrite: bool = runtime(False, "Replace an earlier export.")
    format: Literal["mlx-lm", "peft"] = setting("mlx-lm", "Program that shall load it.", "layout")


class ImportConfig(Settings):
    """`align-sft import`: an adapter of mlx-lm or PEFT as a policy."""

    adapter: Path = runtime(..., "Directory that mlx-lm or PEFT has saved an adapter in.")
    base: Path = runtime(..., "Base model artifact that it belongs to.")
    out: Path = runtime(..., "Directory of the new policy artifact.")
    overwrite: bool = runtime(False, "Replace an existing artifact.")
    format: Literal["chosen", "genrm"] = setting("chosen", "What it was trained to write: answers, or scores.", "data")
    force: bool = runtime(False, "Take an adapter that says it belongs to another base.")
