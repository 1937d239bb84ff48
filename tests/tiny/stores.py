"""Small models as artifacts by the real store: bases, policies and reward models, with adapters that do something.

A usual store: ``base = publish_base(folder / "base", *make_model("gemma"), word_tokenizer())``, its maps from
``load_base(base.path).maps``, ``sft = publish_policy(folder / "sft", base, random_adapter(maps, 1))``, and
``publish_rm(folder / "rm", sft, random_adapter(maps, 2))``.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from transformers import PreTrainedTokenizerBase

from align_contracts import Artifact, open_artifact, publish
from align_contracts.draft import Draft
from align_mlx import adapters as lora
from align_mlx.adapters import AdaptedLinear, Adapter, LoraSpec
from tiny.models import Config, save_model

SPEC = LoraSpec(rank=4, alpha=8.0, layers=2)
MERGE = {"bits": 0, "kl": 0.0, "perplexity_before": 2.0, "perplexity_after": 2.0}
"""How a merge into dense weights went, for the details of a merged policy."""


def random_adapter(maps: Mapping[str, AdaptedLinear], seed: int, spec: LoraSpec = SPEC, size: float = 0.2) -> Adapter:
    """Make an adapter that changes something: B is drawn with standard deviation `size` instead of zero."""
    params = dict(lora.fresh(maps, spec, mx.random.key(seed)).params)
    for i, name in enumerate(sorted(k for k in params if k.endswith("lora_b"))):
        params[name] = size * mx.random.normal(params[name].shape, key=mx.random.key(1000 * seed + i))
    return Adapter(params, spec.scale)


def write_model(draft: Draft, model: nn.Module, config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
    """Put a model's files into a draft."""
    roles = {"model.safetensors": "weights", "config.json": "config"}
    with TemporaryDirectory() as scratch:
        for file in sorted(save_model(Path(scratch), model, config, tokenizer).iterdir()):
            role = roles.get(file.name, f"tokenizer_{file.name}")
            shutil.copyfile(file, draft.file(file.name, role=role))


def publish_base(
    path: Path,
    model: nn.Module,
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    *,
    tokenizer_digest: str | None = None,
) -> Artifact:
    """Publish a model as a base, quantized or not."""
    quantization = config.get("quantization")
    with publish(path, "base_model", producer="align-sft", config={}) as draft:
        write_model(draft, model, config, tokenizer)
        draft.tokenizer_digest = tokenizer_digest
        draft.details = {
            "architecture": config["model_type"],
            "hidden_size": config["hidden_size"],
            "num_layers": config["num_hidden_layers"],
            "vocab_size": config["vocab_size"],
            "parameters": sum(value.size for _, value in tree_flatten(model.parameters())),
            "quantization": quantization and {key: quantization[key] for key in ("bits", "group_size")},
            "source": "test",
            "embedded": False,
        }
    return open_artifact(path)


def publish_policy(path: Path, base: Artifact, adapter: Adapter, **details: Any) -> Artifact:
    """Publish an SFT policy; `details` override its manifest's."""
    with publish(path, "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        plain = {"method": "sft", "form": "residual", "format": "chosen", "adapters": [adapter_entry(adapter, "sft")]}
        draft.details = {**plain, **details}
    return open_artifact(path)


def publish_rm(
    path: Path,
    policy: Artifact,
    adapter: Adapter,
    *,
    backbone: str = "policy",
    weight: float = 0.35,
    bias: float = 1.5,
    mean: float = 1.5,
    std: float = 2.0,
    tokenizer_digest: str | None = None,
) -> Artifact:
    """Publish a reward model on a policy (or its base), with a random head.

    Args:
        path: the artifact's directory.
        policy: the SFT policy; its base becomes an input too.
        adapter: the reward model's own.
        backbone: "policy" or "base".
        weight: standard deviation of the head's weights. With 0.35 and a bias of 1.5, scores of the tiny Gemma's
            answers have about mean 1.5 and standard deviation 2.
        bias: the head's bias.
        mean: the mean score that its details name.
        std: the standard deviation that its details name.
        tokenizer_digest: for the manifest.
    """
    inputs = {"base": policy.input("base"), "policy": policy}
    with publish(path, "reward_model", producer="align-rm", config={}, inputs=inputs) as draft:
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        width = policy.input("base").details.hidden_size
        head = {"weight": weight * mx.random.normal((1, width), key=mx.random.key(3)), "bias": mx.array([bias])}
        mx.save_safetensors(str(draft.file("head.safetensors", role="head")), head, metadata={"format": "mlx"})
        draft.tokenizer_digest = tokenizer_digest
        draft.details = {
            "adapter": adapter_entry(adapter, "rm"),
            "head_file": "head.safetensors",
            "backbone": backbone,
            "split": "train",
            "pairwise_accuracy": 0.5,
            "ece_before": 0.1,
            "ece_after": 0.1,
            "temperature": 1.0,
            "calibration": {"mean": mean, "std": std, "n": 10},
            "max_length": 64,
        }
    return open_artifact(path)


def adapter_entry(adapter: Adapter, name: str) -> dict[str, Any]:
    """Describe an adapter as the details of a policy or reward model do."""
    maps = [key.removesuffix(".lora_a") for key in adapter.params if key.endswith(".lora_a")]
    return {
        "name": name,
        "file": "adapter.safetensors",
        "rank": adapter.rank,
        "alpha": adapter.scale * adapter.rank,
        "layers": len({lora.block_index(key) for key in maps}),
        "targets": sorted({key.rpartition(".")[2] for key in maps}),
    }
