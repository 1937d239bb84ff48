"""A model as files that `mlx_lm.load` reads: weights, config and tokenizer, declared to a draft artifact."""

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import dequantize_model, quantize_model

from align_contracts import Draft
from align_contracts.errors import ConfigError, VerificationError
from align_contracts.space import require_space
from align_mlx.finite import broken, listed, require_finite
from align_mlx.tensors import save_tensors

JsonDict = dict[str, Any]


def store_form(model: nn.Module, config: JsonDict, bits: int, group_size: int) -> tuple[nn.Module, JsonDict]:
    """Bring a model into its storage form: bf16 (never fp16, in which Gemma overflows), quantized if asked for.

    Args:
        model: an mlx-lm model; changed in place.
        config: its config; not changed.
        bits: 4 or 8, or 0 for bf16.
        group_size: weights that share a scale.

    Returns:
        The model and the config that describes it.

    Raises:
        ConfigError: no matrix can be quantized in groups of this size.
    """
    stored = {k: v for k, v in config.items() if k not in ("quantization", "quantization_config")}
    if any(hasattr(m, "bits") for m in model.modules()):
        was = config.get("quantization") or {}
        if (was.get("bits"), was.get("group_size"), was.get("mode", "affine")) == (bits, group_size, "affine"):
            return model, {**stored, "quantization": config["quantization"]}
        model.set_dtype(mx.float32)  # so that scale · code + bias is exact, and rounded once
        model = dequantize_model(model)
    model.set_dtype(mx.bfloat16)
    stored["torch_dtype"] = "bfloat16"
    if bits == 0:
        return model, stored
    with contextlib.redirect_stdout(io.StringIO()):  # mlx-lm reports the bits a weight here
        model, stored = quantize_model(model, stored, group_size, bits)
    stored.pop("quantization_config", None)
    if not any(isinstance(m, nn.QuantizedLinear) for m in model.modules()):
        raise ConfigError(f"no matrix has rows that are multiples of {group_size}", do="choose a smaller group size")
    return model, stored


def count_parameters(model: nn.Module) -> int:
    """Count parameters as if no weight were quantized."""
    total = 0
    for _, module in model.named_modules():
        for name, value in module.items():
            if isinstance(value, mx.array) and name not in ("scales", "biases"):
                packed = name == "weight" and hasattr(module, "bits")
                total += value.size * 32 // module.bits if packed else value.size
    return total


def require_room(out: Path, model: nn.Module) -> None:
    """Raise PreflightError where the disk has no room for a model in its storage form."""
    require_space(out, {"the weights": sum(value.nbytes for _, value in tree_flatten(model.parameters()))})


def write_model(draft: Draft, model: nn.Module, config: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.json`` into a draft and record the quantization.

    Raises:
        VerificationError: a weight is not finite.
    """
    weights = dict(tree_flatten(model.parameters()))
    require_finite(weights, "the model", do=f"Nothing was published; make {draft.kind} of other weights")
    save_tensors(draft.file("model.safetensors", role="weights"), weights)
    kept = {k: v for k, v in config.items() if k not in ("_name_or_path", "transformers_version")}
    draft.write_json("config.json", kept, role="config")
    draft.quantization = quantization_record(config)


def require_finite_files(path: Path) -> None:
    """Refuse a model directory whose weights hold NaN or infinity: quantizing would hide them in codes.

    One tensor at a time is in memory.

    Args:
        path: a directory with ``model*.safetensors``.

    Raises:
        VerificationError: naming the tensors as the files do.
    """
    found = []
    for file in sorted(path.glob("model*.safetensors")):
        arrays = mx.load(str(file))
        for name in sorted(arrays):
            found += broken({name: arrays.pop(name)})
    if found:
        raise VerificationError(
            f"the weights of {path} are not finite",
            expected="finite numbers",
            got=listed(found),
            do="Get the model again, or repair it: nothing computed with it would be a number",
        )


def quantization_record(config: Mapping[str, Any]) -> dict[str, int] | None:
    """Give {bits, group_size} of a stored model's config, or None for dense weights."""
    found = config.get("quantization")
    return {"bits": found["bits"], "group_size": found["group_size"]} if found else None


def write_tokenizer(draft: Draft, tokenizer: Any) -> None:
    """Write a tokenizer's files into a draft and record the digests of its vocabulary and its chat template.

    Args:
        draft: the draft artifact.
        tokenizer: a Hugging Face tokenizer with a chat template, or mlx-lm's wrapper of one.
    """
    tokenizer = tokenizer._tokenizer if isinstance(tokenizer, TokenizerWrapper) else tokenizer
    for how in ("is_local", "local_files_only"):  # it was loaded: with or without a network the files are the same
        tokenizer.init_kwargs.pop(how, None)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        files = sorted(p for p in Path(scratch).iterdir() if p.is_file())
        for file in files:
            draft.file(file.name, role=f"tokenizer_{file.name}").write_bytes(file.read_bytes())
        vocabulary = next((f for f in files if f.name == "tokenizer.json"), files[0])
        draft.tokenizer_digest = hashlib.sha256(vocabulary.read_bytes()).hexdigest()
    draft.chat_template_digest = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()
