"""From a directory or an artifact to a resident base: loaded, made dense where that is faster, repaired, and tried.

What cannot be computed exactly is refused here, before anything is trained on it.
"""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.utils import dequantize_model, load_model, load_tokenizer

from align_contracts import Artifact
from align_contracts.errors import ConfigError
from align_mlx import adapters as lora
from align_mlx import fastmath
from align_mlx.adapters import AdaptedLinear, Adapter
from align_mlx.chat import turn_end
from align_mlx.compute import Compute, bound_cache, choose
from align_mlx.prefix import shares_prompts
from align_mlx.progress import doing
from align_mlx.repairs import repair
from align_mlx.resident import Resident


def load_base(path: Path, compute: Compute | None = None) -> Resident:
    """Load a model directory (mlx-lm layout) as a resident base in its compute form.

    Args:
        path: directory with config.json, safetensors and tokenizer files; `open_artifact` has verified it.
        compute: the compute form; chosen for this machine if None.

    Raises:
        ConfigError: the tokenizer has no chat template, so prompts cannot be formatted.
    """
    doing("loading the base", aloud=True)
    bound_cache()
    compute = compute or choose()
    model, config = load_model(path)
    tokenizer = load_tokenizer(path, eos_token_ids=config.get("eos_token_id"))
    require_chat_template(tokenizer, path)
    if compute.dense and any(isinstance(m, nn.QuantizedLinear) for m in model.modules()):
        model.set_dtype(mx.float32)  # so that scale · code + bias is exact, and rounded at most once
        model = dequantize_model(model)
    model.set_dtype(compute.dtype)
    model.freeze()
    repair(model)
    fastmath.speed_up(model)
    maps = lora.wrap(model)
    mx.eval(model.parameters())
    ends = set(map(int, tokenizer.eos_token_ids))
    if (end := turn_end(tokenizer)) is not None:
        ends.add(end)
    resident = Resident(model, tokenizer, maps, compute, frozenset(ends), config=config)
    require_own_logits(resident, path)
    doing("trying whether prompts can be shared")
    resident.shares_prompts = shares_prompts(resident)
    return resident


def require_own_logits(resident: Resident, path: Path) -> None:
    """Raise ConfigError where `Resident.logits` leaves out what the architecture does to its logits (a scale, say).

    Both are computed from the same hidden states, so they differ by the rounding of the compute format alone.
    """
    tokens_BL, rounding = mx.array([[0, 1]]), 1e-4 if resident.compute.dtype == mx.float32 else 0.02
    refusal = ConfigError(
        f"the logits of {path} are not its head's output",
        expected="a model whose logits are its head's output, scaled and soft-capped in a way that we know",
        got=str(resident.config.get("model_type")),
        do="use another model: log-probs of this one would be wrong",
    )
    try:
        ours, theirs = resident.logits(resident.hidden(tokens_BL)), resident.model(tokens_BL).astype(mx.float32)
    except (AttributeError, TypeError) as error:  # a trunk called otherwise, or weights that are not read by a call
        raise refusal from error
    if not (mx.abs(ours - theirs).max() <= rounding * mx.abs(ours).max()).item():  # false for nan and inf too
        raise refusal


def require_chat_template(tokenizer: Any, path: Path) -> None:
    """Raise ConfigError where a tokenizer has no chat template."""
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"the tokenizer of {path} has no chat template",
            expected="chat_template in tokenizer_config.json or chat_template.jinja",
            do="use the instruction-tuned model, or add its template file to the directory",
        )


def base_maps(path: Path) -> dict[str, AdaptedLinear]:
    """Give the adaptable linear maps of a model directory by name; no weight is read: names and shapes only."""
    model, _ = load_model(path, lazy=True)
    return lora.wrap(model)


def policy_adapters(policy: Artifact) -> list[Adapter]:
    """Read the adapters of a policy artifact in the order in which they go on the base."""
    return [lora.load(policy.path / entry.file)[0] for entry in policy.details.adapters]


def load_policy(policy: Artifact, compute: Compute | None = None) -> Resident:
    """Load a policy artifact of any form: base with all its adapters shared, or the merged model itself."""
    if policy.details.form == "merged":
        return load_base(policy.path, compute)
    resident = load_base(policy.input("base").path, compute)
    for adapter in policy_adapters(policy):
        resident.share(adapter)
    return resident
