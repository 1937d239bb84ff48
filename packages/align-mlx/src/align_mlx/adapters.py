"""LoRA adapters as plain values: made, applied, saved and loaded apart from the base they modify.

An adapter holds, for each adapted linear map of shape [in, out], ``A`` [in, r] and ``B`` [r, out] in fp32, under
mlx-lm's names (``model.layers.3.self_attn.q_proj.lora_a``). The map becomes ``y = x W + scale (x A) B`` with
``scale = alpha / r``. Source: Hu et al., LoRA, arXiv 2106.09685.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from align_contracts.errors import ConfigError, DivergedError, VerificationError
from align_mlx.finite import require_finite
from align_mlx.tensors import save_tensors

Params = dict[str, mx.array]


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter: its arrays by name, and the factor in front of the product."""

    params: Params
    scale: float = 2.0

    def pair(self, path: str) -> tuple[mx.array, mx.array] | None:
        """Give (A, B) of the linear map at `path`, or None where this adapter has none there."""
        a = self.params.get(f"{path}.lora_a")
        return None if a is None else (a, self.params[f"{path}.lora_b"])

    def scaled(self, factor: float) -> "Adapter":
        """Give the adapter at `factor` times its strength (0 = off, 1 = as trained)."""
        return Adapter(self.params, self.scale * factor)

    def cast(self, dtype: mx.Dtype) -> "Adapter":
        """Give the adapter in another number format."""
        return Adapter({k: v.astype(dtype) for k, v in self.params.items()}, self.scale)

    @property
    def rank(self) -> int:
        """Rank r of the first map; 0 for an empty adapter."""
        return next((v.shape[1] for k, v in self.params.items() if k.endswith("lora_a")), 0)


def stacked(adapters: Sequence[Adapter]) -> Adapter:
    """Give one adapter that does what several do together: the same sum of products, of the ranks' sum.

    Factors in front of the products go into B, so the result's scale is 1.
    """
    names = {name.rpartition(".")[0]: None for adapter in adapters for name in adapter.params}
    params: Params = {}
    for name in names:
        pairs = [(*pair, adapter.scale) for adapter in adapters if (pair := adapter.pair(name)) is not None]
        params[f"{name}.lora_a"] = mx.concatenate([a for a, _, _ in pairs], axis=1)
        params[f"{name}.lora_b"] = mx.concatenate([scale * b for _, b, scale in pairs], axis=0)
    return Adapter(params, 1.0)


@dataclass(frozen=True)
class LoraSpec:
    """What to adapt: rank r, alpha (scale = alpha / rank), the last `layers` blocks, and the target names."""

    rank: int
    alpha: float
    layers: int
    targets: tuple[str, ...] = field(default=())

    @property
    def scale(self) -> float:
        """The factor alpha / rank."""
        return self.alpha / self.rank


class AdaptedLinear(nn.Module):
    """A frozen linear map (dense or quantized) that adds the adapters it wears at the moment."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base
        self._worn: Sequence[tuple[mx.array, mx.array, float]] = ()

    def __call__(self, x: mx.array) -> mx.array:
        """Apply the map and the worn adapters to x [..., in]."""
        y = self.base(x)
        for a, b, scale in self._worn:
            y = mx.addmm(y, x @ a.astype(x.dtype), b.astype(x.dtype), alpha=scale)
        return y

    @property
    def shape(self) -> tuple[int, int]:
        """(in, out) features, whatever the storage."""
        out, packed = self.base.weight.shape
        if isinstance(self.base, nn.QuantizedLinear):
            packed = packed * 32 // self.base.bits
        return packed, out


def wrap(model: nn.Module, targets: Sequence[str] = ()) -> dict[str, AdaptedLinear]:
    """Replace every linear map inside the model's blocks by an `AdaptedLinear` over it.

    The experts of a mixture (mlx-lm's SwitchLinear, many matrices in one array) are no linear maps and stay frozen;
    attention, the router, shared experts and dense blocks of such a model are adapted.

    Args:
        model: an mlx-lm model; its blocks are ``model.layers``, whatever they are called inside.
        targets: last parts of the names to adapt (``q_proj``, …); empty means every linear map of a block.

    Returns:
        The wrapped maps by full name (``model.layers.0.self_attn.q_proj``), in model order.
    """
    blocks = {id(block) for block in model.layers}
    wrapped: dict[str, AdaptedLinear] = {}
    for block_name, block in [found for found in model.named_modules() if id(found[1]) in blocks]:
        for name, module in block.named_modules():
            wanted = not targets or name.rsplit(".", 1)[-1] in targets
            if wanted and isinstance(module, (nn.Linear, nn.QuantizedLinear)):
                wrapped[f"{block_name}.{name}"] = AdaptedLinear(module)
    wrapped = dict(sorted(wrapped.items(), key=lambda item: (block_index(item[0]), item[0])))
    model.update_modules(_tree(wrapped))
    return wrapped


def block_index(name: str) -> int:
    """Give the number of the block in a module name: ``model.layers.12.mlp.up_proj`` → 12."""
    return next(int(part) for part in name.split(".") if part.isdigit())


def _tree(flat: Mapping[str, nn.Module]) -> dict[str, Any]:
    from mlx.utils import tree_unflatten

    return tree_unflatten(list(flat.items()))


def fresh(maps: Mapping[str, AdaptedLinear], spec: LoraSpec, key: mx.array) -> Adapter:
    """Make an untrained adapter: A uniform in ±1/√in, B zero, so that it changes nothing yet.

    Args:
        maps: the wrapped maps of the base, as `wrap` gives them.
        spec: rank, alpha, how many of the last blocks, which targets.
        key: the random key; equal keys give equal adapters.

    Raises:
        ConfigError: one of the targets is no map's name.
    """
    known = {name.rsplit(".", 1)[-1] for name in maps}
    if unknown := sorted(set(spec.targets) - known):
        raise ConfigError("no such LoRA target", expected=", ".join(sorted(known)), got=", ".join(unknown))
    params: Params = {}
    for name in adapted_names(maps, spec):
        inputs, outputs = maps[name].shape
        key, sub = mx.random.split(key)
        bound = inputs**-0.5
        params[f"{name}.lora_a"] = mx.random.uniform(-bound, bound, (inputs, spec.rank), key=sub)
        params[f"{name}.lora_b"] = mx.zeros((spec.rank, outputs))
    return Adapter(params, spec.scale)


def adapted_names(maps: Mapping[str, AdaptedLinear], spec: LoraSpec) -> Iterator[str]:
    """Yield the names a `LoraSpec` selects: its targets in the last `layers` blocks."""
    blocks = max(map(block_index, maps)) + 1
    for name in maps:
        right_target = not spec.targets or name.rsplit(".", 1)[-1] in spec.targets
        if right_target and block_index(name) >= blocks - spec.layers:
            yield name


def save(adapter: Adapter, path: Path, extra: Params | None = None, dtype: mx.Dtype = mx.float32) -> None:
    """Write an adapter (and `extra` arrays, such as a value head) as safetensors; the scale is in the metadata.

    Raises:
        DivergedError: an array holds NaN or infinity, perhaps only in the number format asked for.
    """
    arrays = {k: v.astype(dtype) for k, v in {**adapter.params, **(extra or {})}.items()}
    require_finite(arrays, path.name, do="Nothing was published; see the log for where it began", error=DivergedError)
    save_tensors(path, arrays, {"format": "mlx", "scale": repr(adapter.scale)})


def load(path: Path) -> tuple[Adapter, Params]:
    """Read what `save` wrote.

    Returns:
        The adapter in fp32, and the arrays that are not LoRA maps (heads), in fp32.

    Raises:
        VerificationError: the file holds no adapter scale, so it is not one of ours.
    """
    arrays, metadata = mx.load(str(path), return_metadata=True)
    if "scale" not in metadata:
        raise VerificationError(f"{path.name} is no adapter", expected="a scale in its metadata", got="none")
    arrays = {k: v.astype(mx.float32) for k, v in arrays.items()}
    lora = {k: v for k, v in arrays.items() if k.endswith((".lora_a", ".lora_b"))}
    return Adapter(lora, float(metadata["scale"])), {k: v for k, v in arrays.items() if k not in lora}
