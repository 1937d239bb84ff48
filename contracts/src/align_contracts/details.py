"""The typed `details` section of each artifact kind, and what an input role may hold."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from align_contracts.records import Count, Digest, Quantization, Record, added

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.0)]
Deviation = Annotated[float, Field(ge=0.0)]

INPUT_KINDS: dict[str, tuple[str, ...]] = {
    "base": ("base_model",),
    "dataset": ("dataset",),
    "policy": ("policy",),
    "reward_model": ("reward_model",),
    "candidate": ("responses",),
    "baseline": ("responses",),
    "judgments": ("judgments",),
}
"""Kinds that an input of a known role may have; other roles are free."""


class Details(Record):
    """Base of the sections of all kinds."""

    def named_files(self) -> tuple[str, ...]:
        """Return the files that the section names; each must be listed in the manifest."""
        return ()


class DatasetDetails(Details):
    """What a dataset artifact holds."""

    source: str
    """Where the rows come from: `embedded`, `hf:NAME` or a directory's name."""
    revision: str | None = None
    """Revision of the source."""
    license: str | None = None
    """Licence of the source."""
    split_seed: int
    """Seed of the split by prompt."""
    counts: dict[str, Count]
    """Rows of each file, by role."""
    categories: dict[str, dict[str, Count]]
    """Prompts of each category, by split."""
    formats: tuple[str, ...]
    """SFT formats that the artifact carries."""
    has_checks: bool
    """Whether prompts carry reference checks."""


class BaseModelDetails(Details):
    """What a base model is."""

    architecture: str
    """Model type as its config names it."""
    hidden_size: Annotated[int, Field(ge=1)]
    """Width D of the residual stream."""
    num_layers: Annotated[int, Field(ge=1)]
    """Transformer layers."""
    vocab_size: Annotated[int, Field(ge=1)]
    """Rows V of the embedding."""
    parameters: Annotated[int, Field(ge=1)]
    """Parameters, counted before quantization."""
    quantization: Quantization | None
    """Quantization of the stored weights; null when dense."""
    source: str
    """Where the weights come from."""
    embedded: bool
    """Whether this is the small base that align trains itself."""
    license: str | None = None
    """Licence of the weights."""
    revision: str | None = added(3)
    """Commit of the hub's repository that the weights are from."""


class Adapter(Record):
    """One low-rank adapter; a policy applies its adapters in order on the base."""

    name: str
    """Short name, unique within the artifact."""
    file: str
    """Its safetensors file in this artifact."""
    rank: Annotated[int, Field(ge=1)]
    """Rank of the two factors."""
    alpha: Annotated[float, Field(gt=0.0)]
    """Numerator of the scale: scale = alpha / rank."""
    layers: Annotated[int, Field(ge=0)]
    """How many of the last layers carry it."""
    targets: tuple[str, ...]
    """Projections that carry it."""


class Selection(Record):
    """How the published checkpoint was chosen."""

    rule: str
    """Name of the rule."""
    step: Count
    """Iteration of the chosen checkpoint."""
    gate_passed: bool
    """Whether any checkpoint passed the KL gate."""
    kl: float
    """KL(policy || reference) there, nats a response token."""
    perplexity: float | None = None
    """Perplexity there."""
    reward: float | None = None
    """Mean validation reward there."""


class Merge(Record):
    """What merging the adapters into dense weights cost."""

    bits: Count
    """Bits of the merged weights; 0 is dense."""
    kl: float
    """KL(merged || base + adapters), nats a token."""
    perplexity_before: float
    """Perplexity of base + adapters."""
    perplexity_after: float
    """Perplexity of the merged model."""


class Certificate(Record):
    """What a training run proved about itself while it ran; one that fails a proof publishes nothing."""

    verdict: Literal["complete", "incomplete", "null control"]
    """`complete`: every trainable tensor had a gradient; `incomplete`: the run ended before each had its chance;
    `null control`: at learning rate 0 none is asked for."""
    tensors: Count
    """Trainable tensors."""
    alive: Count
    """Those that have had a non-zero gradient."""
    waiting: tuple[str, ...]
    """Names of the others."""
    live_updates: Count
    """The most live updates that a tensor took to its first gradient, or has waited for: updates at a non-zero
    learning rate on a batch that teaches something."""
    first_ratio_error: Deviation | None = None
    """Mean |ratio − 1| over the tokens of an iteration's first minibatch, in the worst iteration; RL only."""
    first_ratio_error_max: Deviation | None = None
    """The largest |ratio − 1| of a token there, in any iteration."""
    ratio_tolerance: Deviation | None = None
    """The mean above which the run would have stopped."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.alive + len(self.waiting) != self.tensors:
            raise ValueError(f"{self.alive} alive and {len(self.waiting)} waiting are not {self.tensors} tensors")
        if self.verdict != "null control" and (self.verdict == "complete") == bool(self.waiting):
            raise ValueError(f"{self.verdict} with {len(self.waiting)} tensors waiting")
        return self


class PolicyDetails(Details):
    """What a policy is: adapters on a base, or merged weights."""

    method: Literal["sft", "ppo", "grpo", "null"]
    """How it was trained."""
    form: Literal["residual", "merged"]
    """`residual`: base + adapters; `merged`: whole weights."""
    format: Literal["chosen", "genrm"]
    """SFT format it descends from."""
    adapters: tuple[Adapter, ...]
    """Adapters in the order in which they apply."""
    seed: int | None = None
    """Seed of the run."""
    selection: Selection | None = None
    """Checkpoint choice of an RL run."""
    merge: Merge | None = None
    """Cost of the merge; null for a residual policy."""
    control: Literal["none", "null"] = "none"
    """`null`: a control run without learning signal."""
    certificate: Certificate | None = added(1)
    """What its training proved; null where nothing was trained, as in a merge."""

    def named_files(self) -> tuple[str, ...]:
        """Return the adapters' files."""
        return tuple(adapter.file for adapter in self.adapters)


class Calibration(Record):
    """Raw scores on SFT answers of the calibration split."""

    mean: float
    """Mean raw score."""
    std: Annotated[float, Field(ge=0.0)]
    """Standard deviation of the raw score."""
    n: Count
    """Answers scored."""


class RewardModelDetails(Details):
    """What a reward model is and how well it ranks."""

    adapter: Adapter
    """Its adapter."""
    head_file: str
    """File that holds the scalar head."""
    backbone: Literal["policy", "base"]
    """What the adapter sits on: base + SFT adapter, or the base."""
    split: Literal["train", "gold"]
    """Preference split it was trained on."""
    pairwise_accuracy: Share
    """Share of held-out pairs ranked right."""
    ece_before: Share
    """Expected calibration error before temperature scaling."""
    ece_after: Share
    """Expected calibration error after it."""
    temperature: Annotated[float, Field(gt=0.0)]
    """Divisor of the score difference."""
    calibration: Calibration
    """Raw score statistics."""
    max_length: Annotated[int, Field(ge=1)]
    """Longest sequence in tokens."""
    certificate: Certificate | None = added(1)
    """What its training proved."""

    def named_files(self) -> tuple[str, ...]:
        """Return the adapter's and the head's file."""
        return (self.adapter.file, self.head_file)


class ResponsesDetails(Details):
    """How a set of responses was generated."""

    policy_method: str
    """Method of the policy that answered."""
    seed: int | None = None
    """Training seed of that policy."""
    prompts: Count
    """Prompts answered."""
    split: str
    """Prompt split."""
    temperature: Temperature
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    """Nucleus mass."""
    max_new_tokens: Annotated[int, Field(ge=1)]
    """Longest response in tokens."""
    sampling_seed: int
    """Seed of the sampler."""
    scored: bool
    """Whether rows carry a raw reward."""


class JudgmentsDetails(Details):
    """The outcome of judging a candidate against a baseline."""

    judge: str
    """`reference`, `reward-model` or `openai`, with its argument; the annotator of imported verdicts."""
    prompts: Count
    """Prompts judged."""
    wins: Count
    """Candidate better in both orders; of a graded preference, above one half."""
    losses: Count
    """Baseline better in both orders; of a graded preference, below one half."""
    ties: Count
    """Orders disagree, or tie in both; of a graded preference, one half."""
    invalid: Count
    """Replies that could not be read."""
    swapped: bool
    """Whether both orders were judged."""
    judge_prompt_digest: Digest | None = None
    """sha256 of the judge's prompt."""
    model: str | None = None
    """Model of an API judge."""
    reply_form: Literal["json_schema", "label"] | None = added(2)
    """How an API judge was made to answer: held to a JSON schema, or by a label on the last line."""
    source: Literal["judged", "alpaca-eval"] = added(2, "judged")
    """Where the verdicts come from: judged here, or imported from AlpacaEval's annotations."""
    source_digest: Digest | None = added(2)
    """sha256 of the imported annotations, unpacked."""
    candidate: str | None = added(2)
    """Name of the imported candidate."""
    baseline: str | None = added(2)
    """Name of the imported baseline."""
    graded: bool = added(2, False)
    """Whether every row has its own preference in [0, 1] instead of a verdict in each order."""


class ReportDetails(Details):
    """Which runs a report covers."""

    runs: Count
    """Policies compared."""
    methods: dict[str, tuple[int, ...]]
    """Seeds of each method."""
