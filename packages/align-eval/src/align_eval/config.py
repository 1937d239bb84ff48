"""Settings of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from align_contracts.console import WRITTEN, runtime
from align_contracts.console.suggest import did_you_mean
from align_eval.judges.address import checked_url
from align_mlx.settings import ComputeSettings

OPENAI_URL = "https://api.openai.com/v1"


def _path(description: str, *names: str, required: bool = True) -> Any:
    default = ... if required else None
    return runtime(default, description, json_schema_extra={"group": "artifacts", "aliases": list(names)})


def _several(description: str) -> Any:
    return runtime((), description, json_schema_extra={"group": "artifacts"})


def _field(group: str, default: Any, description: str, **rules: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"group": group}, **rules)


def _runtime(group: str, default: Any, description: str, **rules: Any) -> Any:
    return runtime(default, description, json_schema_extra={"group": group}, **rules)


class RespondConfig(ComputeSettings):
    """Answers of one policy to one prompt split."""

    policy: Path = _path("policy artifact that answers: sft, ppo or grpo")
    data: Path = _path("dataset artifact with the prompts", "--prompts")
    rm: Path | None = _path("reward model that scores the answers; left out: not scored", "--rm-model", required=False)
    out: Path = _path("where to publish the responses artifact", "--output")
    split: Literal["test", "validation", "calibration", "gold", "train"] = _field(
        "sampling", "test", "prompts answered"
    )
    temperature: float = _field("sampling", 0.7, "sampling temperature; 0 is greedy", ge=0)
    max_prompt_length: int = _field("sampling", 256, "longest prompt in tokens; longer ones are refused", ge=1)
    max_new_tokens: int = _field("sampling", 256, "longest answer in tokens", ge=1)
    sampling_seed: int = _field("sampling", 0, "seed of the sampler; another one gives the A/A responses", ge=0)
    rollout_rows: int = _field("compute", 128, "answers decoded at the same time", ge=1)
    quiet: bool = runtime(False, "show no progress")
    overwrite: bool = runtime(False, "replace an existing artifact at --out")


class JudgeConfig(BaseModel):
    """A candidate's answers against a baseline's, in both orders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: Path = _path("responses of the policy under test")
    baseline: Path = _path("responses of the SFT policy")
    data: Path | None = _path("dataset artifact, if it does not lie beside the responses", required=False)
    out: Path = _path("where to publish the judgments artifact", "--output")
    judge: str = _field("judge", "reference", "reference, reward-model:PATH or openai:MODEL")
    reward_model: Path | None = _path("reward model that judges; the PATH of reward-model:PATH", required=False)
    base_url: str = _field("openai", OPENAI_URL, "endpoint that speaks OpenAI's chat completions")
    reply_form: Literal["auto", "json_schema", "label"] = _field(
        "openai",
        "auto",
        "how the verdict is asked for; auto: a JSON schema where the endpoint keeps to it, else a label",
    )
    temperature: float | None = _field(
        "openai", 0.0, "sampling temperature of the judge; none: the endpoint's own, where it takes no other", ge=0
    )
    max_reply_tokens: int = _field("openai", 300, "longest reply in tokens", ge=16)
    concurrency: int = _runtime("openai", 8, "questions in flight", ge=1, le=256)
    attempts: int = _runtime("openai", 8, "tries of one question before it is given up", ge=1)
    timeout_s: float = _runtime("openai", 60.0, "seconds that one try may take", gt=0)
    max_cost_usd: float | None = _runtime("openai", None, "cap on the cost of this judging, reruns included", ge=0)
    price_input_usd: float | None = _runtime("openai", None, "USD per million tokens read by the judge", ge=0)
    price_output_usd: float | None = _runtime("openai", None, "USD per million tokens written by the judge", ge=0)
    cache: Path | None = runtime(
        None,
        "SQLite file of replies; left out: one in the user's cache folder",
        json_schema_extra={"group": "artifacts", **WRITTEN},
    )
    retry_invalid: bool = _runtime("openai", False, "ask again where the stored reply was unusable")
    dry_run: bool = runtime(False, "print what would be asked and what it can cost, and stop")
    quiet: bool = runtime(False, "show no progress")
    overwrite: bool = runtime(False, "replace an existing artifact at --out")

    @field_validator("base_url")
    @classmethod
    def _bare(cls, value: str) -> str:
        return checked_url(value)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        """Take the path out of ``reward-model:PATH``: a path must not enter the identity of the result."""
        kind, colon, path = str(values.get("judge", "")).partition(":") if isinstance(values, dict) else ("", "", "")
        if kind != "reward-model" or not colon:
            return values
        return {**values, "judge": kind, **({"reward_model": Path(path)} if path else {})}

    @model_validator(mode="after")
    def _known(self) -> JudgeConfig:
        kind, colon, model = self.judge.partition(":")
        plain = kind == "reference" or (kind == "reward-model" and self.reward_model is not None)
        if not (plain and not colon) and not (kind == "openai" and model):
            known = f"expected --judge reference, reward-model:PATH or openai:MODEL, got {self.judge!r}"
            raise ValueError(f"{known}. {hint}" if (hint := self._meant()) else known)
        return self

    def _meant(self) -> str | None:
        kind, colon, _ = self.judge.partition(":")
        if kind == "reward-model":
            return "Say where the reward model lies: reward-model:PATH"
        if kind == "openai":
            return "Name the model that judges, as in openai:gpt-4o-mini"
        close = did_you_mean(kind, ("reference", "reward-model:PATH", "openai:MODEL"))
        return close or (f"Did you mean openai:{kind}?" if kind and not colon else None)


class ImportConfig(BaseModel):
    """Verdicts that others published, as a judgments artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["alpaca-eval"] = Field(
        description="alpaca-eval: AlpacaEval's annotations of one model", json_schema_extra={"positional": True}
    )
    file: Path = runtime(..., "annotations.json, plain or packed by gzip", json_schema_extra={"positional": True})
    out: Path = _path("where to publish the judgments artifact", "--output")
    baseline: str | None = Field(
        default=None,
        description="name of the baseline; left out: AlpacaEval's own, else generator_1",
    )
    length_prior: Literal["alpaca-eval-2", "weak"] | None = Field(
        default=None,
        description="what is known of the judge's taste for length; left out: alpaca-eval-2 against its baseline "
        "gpt4_1106_preview, else weak",
    )
    quiet: bool = runtime(False, "print no summary")
    overwrite: bool = runtime(False, "replace an existing artifact at --out")


class SummarizeConfig(BaseModel):
    """The numbers of judgments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judgments: tuple[Path, ...] = Field(
        min_length=1,
        description="judgments artifacts; those of one judge and baseline are length-controlled together",
        json_schema_extra={"positional": True},
    )
    as_json: bool = Field(False, description="print JSON, rates in percent", json_schema_extra={"aliases": ["--json"]})


class SweepConfig(ComputeSettings):
    """One trained policy at several strengths of its adapter."""

    policy: Path = _path("policy artifact to sweep: ppo or grpo")
    data: Path = _path("dataset artifact with the prompts", "--prompts")
    rm: Path = _path("reward model that scores the answers", "--rm-model")
    gold: Path | None = _path("gold reward model; left out: the prompts' reference checks, if any", required=False)
    out: Path = _path("where to publish the sweep, a responses artifact", "--output")
    strengths: tuple[float, ...] = _field(
        "sampling", (0.0, 0.25, 0.5, 0.75, 1.0), "factors on the trained adapter; 0 is the reference, 1 as trained"
    )
    split: Literal["test", "validation", "calibration", "gold", "train"] = _field(
        "sampling", "validation", "prompts answered"
    )
    eval_prompts: int = _field("sampling", 64, "first prompts of the split, answered at each strength", ge=2)
    temperature: float = _field("sampling", 1.0, "sampling temperature, that of the rollouts; KL is at it too", gt=0)
    max_prompt_length: int = _field("sampling", 256, "longer prompts are left out and counted", ge=1)
    max_new_tokens: int = _field("sampling", 256, "longest answer in tokens", ge=1)
    sampling_seed: int = _field("sampling", 0, "seed of the sampler, the same for all strengths and policies", ge=0)
    rollout_rows: int = _field("compute", 128, "answers decoded at the same time", ge=1)
    token_budget: int = _field("compute", 8192, "padded tokens of one forward pass", ge=64)
    quiet: bool = runtime(False, "show no progress")
    overwrite: bool = runtime(False, "replace an existing artifact at --out")

    @field_validator("strengths")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) < 0 or list(value) != sorted(set(value)):
            raise ValueError(f"expected one or more strengths of 0 or more, each above the one before, got {value}")
        return value


Metric = Literal[
    "win_rate_vs_sft",
    "loss_rate",
    "tie_rate",
    "kl_divergence",
    "perplexity",
    "reward",
    "response_length",
    "convergence_iteration",
    "training_time",
    "vram_peak",
]
"""What `compare --metrics` may print; the report has all of them."""


class CompareConfig(BaseModel):
    """The controlled comparison and its report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judgments: tuple[Path, ...] = _several("judgments artifacts, one a run; an SFT candidate is the A/A row")
    ppo_logs: tuple[Path, ...] = _several(
        "logs of PPO runs, each in its policy artifact: stands for the judgments of that policy, which lie beside it"
    )
    grpo_logs: tuple[Path, ...] = _several("the same of GRPO runs")
    out: Path = _path("where to publish the report artifact; of NAME.pdf, NAME and --pdf NAME.pdf", "--output")
    pdf: Path | None = runtime(
        None, "also put a copy of the report's PDF here", json_schema_extra={"group": "output", **WRITTEN}
    )
    metrics: tuple[Metric, ...] = _runtime("output", (), "also print these for each method: mean and spread over seeds")
    as_json: bool = runtime(
        False,
        "print one JSON object: where the report is, and all numbers of each method, or those of --metrics",
        json_schema_extra={"group": "output", "aliases": ["--json"]},
    )
    sweeps: tuple[Path, ...] = runtime(
        (), "sweep artifacts, one a run; left out: no frontier by strength", json_schema_extra={"group": "artifacts"}
    )
    allow_mismatch: bool = Field(
        default=False,
        description="report runs whose controlled variables differ, with the differences shown",
    )
    gold_prompts: int = Field(
        default=200, description="validation prompts of each evaluation point that a reward-model judge scores", ge=0
    )
    equivalence_margin: float = Field(
        default=0.05, description="difference of win rates that would not matter, for the equivalence test", gt=0, lt=1
    )
    quiet: bool = runtime(False, "print no summary")
    overwrite: bool = runtime(False, "replace an existing artifact at --out")

    @model_validator(mode="before")
    @classmethod
    def _named_as_pdf(cls, values: Any) -> Any:
        """Publish ``--out NAME.pdf`` as the artifact NAME, with a copy of its PDF where it was asked for."""
        out = Path(str(values.get("out", ""))) if isinstance(values, dict) else Path()
        return {"pdf": out, **values, "out": out.with_suffix("")} if out.suffix == ".pdf" else values

    @model_validator(mode="after")
    def _some(self) -> CompareConfig:
        if not (self.judgments or self.ppo_logs or self.grpo_logs):
            raise ValueError("expected at least one judgments artifact: --judgments, or --ppo-logs and --grpo-logs")
        return self


class PlanConfig(BaseModel):
    """How many seeds and prompts a comparison needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effect: float | None = _field(
        "wanted", None, "true difference of win rates to find; left out: 0.05, five points", gt=0, lt=1
    )
    cohens_d: float | None = _field(
        "wanted", None, "the same in standard deviations between the win rates of a method's runs", gt=0
    )
    power: float = _field("wanted", 0.8, "chance that it is found", gt=0, lt=1)
    alpha: float = _field("wanted", 0.05, "level of the two-sided test", gt=0, lt=0.5)
    seeds: int | None = _field("design", None, "seeds a method; left out: 3, or the report's", ge=2, le=100_000)
    prompts: int | None = _field("design", None, "prompts; left out: 300, or the report's", ge=2, le=100_000)
    report: Path | None = runtime(
        None,
        "comparison whose measured spread is planned with, instead of the settings below",
        json_schema_extra={"group": "spread"},
    )
    seed_sd: tuple[Annotated[float, Field(ge=0, lt=0.5)], ...] | None = _field(
        "spread", None, "standard deviation of the true win rate between seeds; left out: 0, 0.02, 0.05 and 0.1"
    )
    tie_rate: float | None = _field("spread", None, "ties among all pairs; left out: 0", ge=0, lt=1)
    win_rate_decided: float | None = _field("spread", None, "wins among decided pairs; left out: 0.5", gt=0, lt=1)
    prompt_share: float | None = _field(
        "spread",
        None,
        "correlation of two methods' outcomes on one prompt; left out: 0, the cautious value",
        ge=0,
        lt=1,
    )
    method_share: float | None = _field(
        "spread", None, "by how much outcomes of one method correlate more than that; left out: 0", ge=0, lt=1
    )
    as_json: bool = runtime(False, "print JSON instead of a table", json_schema_extra={"aliases": ["--json"]})

    @field_validator("effect", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        """Say that points are no share, before pydantic says only that 5 is above 1."""
        try:
            points = float(value)
        except (TypeError, ValueError):
            return value
        if 1 <= points < 100:
            raise ValueError(f"expected a share below 1 ({points:g} points are {points / 100:g})")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> PlanConfig:
        if self.effect is not None and self.cohens_d is not None:
            raise ValueError("expected --effect or --cohens-d, not both")
        assumed = [name for name in _ASSUMED if getattr(self, name) is not None]
        if self.report is not None and assumed:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in assumed)
            raise ValueError(f"expected --report or the settings of a spread, not both, got {flags} too")
        if self.power <= self.alpha:
            raise ValueError(f"expected a power above the level, got {self.power:g} and {self.alpha:g}")
        return self


_ASSUMED = ("seed_sd", "tie_rate", "win_rate_decided", "prompt_share", "method_share")
"""Settings that say what a report would have measured."""
