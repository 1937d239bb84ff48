"""The settings of everything that computes with a model, declared once for all stages."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from align_contracts.console import WRITTEN, planned, runtime
from align_mlx.units import Gib

GROUP = {"group": "compute"}
RESUME = {"group": "resume"}
TRACKING = {"group": "tracking"}


class ComputeSettings(BaseModel):
    """What every command that runs a model lets one choose; frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compute_form: Literal["auto", "quantized", "dense"] = Field(
        "auto",
        description="Weights as stored, or made dense once; auto: quantized on Metal only.",
        json_schema_extra={**GROUP},
    )
    compute_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Number format of activations; auto: float32 on CPU, else bfloat16.",
        json_schema_extra={**GROUP},
    )


class TrackingSettings(BaseModel):
    """What every training command lets one choose about who watches (`align_mlx.tracking`)."""

    track: Literal["none", "tensorboard", "trackio", "wandb"] = runtime(
        "none", "Also send the log's numbers there, which can never stop the run.", json_schema_extra=TRACKING
    )
    track_dir: Path | None = runtime(
        None,
        "Directory of the tracker's files; none: `tracking` beside the artifact.",
        json_schema_extra={**TRACKING, **WRITTEN},
    )


class PassSettings(TrackingSettings, ComputeSettings):
    """What every training on a base adds: how its work is cut to fit the memory (`align_mlx.plan`), and who watches."""

    memory_limit: Annotated[Gib, Field(gt=0)] | None = runtime(
        None,
        "Memory that MLX may use, in GiB or with a unit (8GB, 7.5GiB); none: most of what this machine has.",
        json_schema_extra={**GROUP},
    )
    token_budget: int = planned(
        0, "Most padded tokens of one pass; 0: as the memory limit allows. Changes sums only by rounding.", GROUP, ge=0
    )
    gradient_checkpointing: bool | None = planned(
        None, "Keep only block inputs and compute the rest again: less memory, more time; none: if need be.", GROUP
    )
    dry_run: bool = runtime(
        False, "Measure a little of the run, print its memory and time, and publish nothing.", json_schema_extra=GROUP
    )


class ResumeSettings(BaseModel):
    """What every training command lets one choose about its checkpoints (`align_mlx.unfinished`)."""

    resume: str = runtime(
        "auto",
        "auto: continue the unfinished run of the same settings, if there is one; never: start over; or the path of a "
        "run folder or checkpoint to continue.",
        json_schema_extra=RESUME,
    )
    checkpoint_every: int = runtime(10, "Iterations between checkpoints.", ge=1, json_schema_extra=RESUME)
    keep_checkpoints: int = runtime(2, "Checkpoints that are kept, the newest ones.", ge=1, json_schema_extra=RESUME)


class GuardSettings(BaseModel):
    """What every training command lets one choose about rows that spoil a step (`align_mlx.guard`)."""

    skip_nonfinite_rows: int = runtime(
        0,
        "Most rows that a run may leave out because their own loss, reward or gradient is NaN or infinite; they are "
        "listed in the artifact. 0: it stops at the first.",
        ge=0,
        json_schema_extra=RESUME,
    )


class RolloutSettings(ComputeSettings):
    """What every training command that samples answers adds."""

    rollout_rows: int = planned(
        0, "Answers decoded at the same time; 0: as the memory limit allows. Never changes the draws.", GROUP, ge=0
    )
