"""Adapters in other programs' layouts: mlx-lm's and PEFT's, to and from ours.

Both know one rank and the same maps in each of some last blocks, so an adapter is made `regular` first: where it has no
map, or a lower rank, it gets zeros, which add nothing. The product stays the same; no number is rounded.

| | ours, mlx-lm | PEFT |
| --- | --- | --- |
| name | ``model.layers.3.mlp.up_proj.lora_a`` | ``base_model.model.model.layers.3.mlp.up_proj.lora_A.weight`` |
| A | [in, r] | [r, in] |
| B | [r, out] | [out, r] |
| scale | a number | ``lora_alpha / r`` |

Source: the file formats of mlx-lm 0.32 (`tuner/utils.py`) and PEFT 0.21 (`LoraConfig`), read and tried.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from align_contracts.errors import ConfigError, VerificationError
from align_mlx.adapters import AdaptedLinear, Adapter, LoraSpec, Params, adapted_names, block_index

JsonDict = dict[str, Any]
Maps = Mapping[str, AdaptedLinear]

PEFT_PREFIX = "base_model.model."
CHANGES_THE_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Ways to begin an adapter in which PEFT takes part of the base away: what is saved fits that changed base only."""
PLAIN: dict[str, tuple[Any, ...]] = {"peft_type": ("LORA",), "bias": ("none", None)}
"""What these keys of PEFT's config say of ``y + scale (x A) B`` and nothing more."""
ALLOWED = {
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "lora_dropout", "init_lora_weights", "eva_config",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying",
    "loftq_config", "corda_config", "lora_ga_config", "velora_config", "qalora_group_size", "megatron_core",
}  # fmt: skip
"""Keys that may say anything: the scale (read here), where the maps are (their names tell), how training went.

Every other key must be absent, null, false or empty: it adds something, or makes a variant of LoRA (``use_dora``)."""


def regular(adapter: Adapter, maps: Maps) -> tuple[Adapter, LoraSpec]:
    """Give the same adapter with one rank, and with the same targets in each of the last blocks.

    Args:
        adapter: an adapter whose maps are all in `maps`, with fitting shapes (see `require_fit`).
        maps: the linear maps of the base.

    Returns:
        The adapter, zeros where it had nothing, and what it adapts.
    """
    names = [name for name in maps if adapter.pair(name) is not None]
    rank = max(adapter.params[f"{name}.lora_a"].shape[1] for name in names)
    layers = max(map(block_index, maps)) + 1 - min(map(block_index, names))
    targets = tuple(sorted({name.rpartition(".")[2] for name in names}))
    spec = LoraSpec(rank, adapter.scale * rank, layers, targets)
    params: Params = {}
    for name in adapted_names(maps, spec):
        inputs, outputs = maps[name].shape
        a, b = adapter.pair(name) or (mx.zeros((inputs, 0)), mx.zeros((0, outputs)))
        missing = rank - a.shape[1]
        params[f"{name}.lora_a"] = mx.pad(a, [(0, 0), (0, missing)])
        params[f"{name}.lora_b"] = mx.pad(b, [(0, missing), (0, 0)])
    return Adapter(params, adapter.scale), spec


def require_fit(adapter: Adapter, maps: Maps, what: str) -> None:
    """Raise VerificationError where an adapter is not one for these maps: none, unknown names, halves, shapes."""
    names = {name.rpartition(".")[0] for name in adapter.params}
    if not names:
        raise VerificationError(f"{what} adapts nothing", expected="tensors of linear maps")
    if unknown := sorted(names - set(maps)):
        raise VerificationError(
            f"{what} adapts {unknown[0]}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""),
            expected=f"linear maps inside the base's blocks, such as {next(iter(maps))}",
            do="Only adapters of linear maps in blocks can be taken; check that the base is the right one",
        )
    for name in sorted(names):
        a, b = (adapter.params.get(f"{name}.lora_{half}") for half in "ab")
        inputs, outputs = maps[name].shape
        if a is None or b is None:
            raise VerificationError(f"{what}: {name} has only one of its two matrices")
        rank = a.shape[-1]
        if rank == 0 or (a.shape, b.shape) != ((inputs, rank), (rank, outputs)):
            raise VerificationError(
                f"{what}: {name} does not fit the base",
                expected=f"A [{inputs}, r] and B [r, {outputs}]",
                got=f"{list(a.shape)} and {list(b.shape)}",
                do="Give the base that it was trained on",
            )


def to_mlx_lm(adapter: Adapter, spec: LoraSpec, maps: Maps, base_name: str) -> tuple[JsonDict, Params]:
    """Give ``adapter_config.json`` and the tensors of ``adapters.safetensors`` of a regular adapter."""
    keys = sorted({_within_block(name) for name in adapted_names(maps, spec)})
    config = {
        "model": base_name,
        "fine_tune_type": "lora",
        "num_layers": spec.layers,
        "lora_parameters": {"rank": spec.rank, "scale": adapter.scale, "dropout": 0.0, "keys": keys},
    }
    return config, adapter.params


def to_peft(adapter: Adapter, spec: LoraSpec, maps: Maps, base_name: str) -> tuple[JsonDict, Params]:
    """Give ``adapter_config.json`` and the tensors of ``adapter_model.safetensors`` of a regular adapter.

    Raises:
        ConfigError: the base's blocks have names of mlx-lm's own, so PEFT would not find them.
    """
    if strange := next((name for name in adapter.params if not name.startswith("model.layers.")), None):
        raise ConfigError(
            "PEFT knows the blocks of this base by other names",
            expected="a text model whose blocks are model.layers",
            got=strange,
            do="Export it for mlx-lm, or merge it",
        )
    scale, alpha = adapter.scale, adapter.scale * spec.rank
    factor = 1.0
    if alpha / spec.rank != scale:  # the quotient would be rounded to another number
        factor, alpha = scale, spec.rank
    tensors: Params = {}
    for name in adapted_names(maps, spec):
        pair = adapter.pair(name)
        assert pair is not None  # it is regular
        tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = mx.contiguous(pair[0].T)
        tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = mx.contiguous(factor * pair[1].T)
    blocks = max(map(block_index, maps)) + 1
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        "r": spec.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "target_modules": list(spec.targets),
        "layers_to_transform": None if spec.layers == blocks else list(range(blocks - spec.layers, blocks)),
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    return config, tensors


def from_mlx_lm(config: JsonDict, tensors: Params, what: str) -> Adapter:
    """Read an adapter as mlx-lm saves it.

    Raises:
        VerificationError: it is no plain LoRA adapter, or its config has no scale.
    """
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise VerificationError(f"{what} is no plain LoRA adapter", expected="fine_tune_type lora", got=kind)
    parameters = config.get("lora_parameters")
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    scale = _number(scale, f"{what}: lora_parameters.scale in adapter_config.json")
    return Adapter({name: tensor.astype(mx.float32) for name, tensor in tensors.items()}, scale)


def from_peft(config: JsonDict, tensors: Params, maps: Maps, what: str) -> Adapter:
    """Read a LoRA adapter as PEFT saves it.

    The scale is ``lora_alpha / r``, with rank-stabilised LoRA ``lora_alpha / √r`` (Kalajdzievski, arXiv 2312.03732);
    ``alpha_pattern`` gives single maps another alpha, and r is what the tensors have.

    Raises:
        VerificationError: the adapter does more than LoRA, or config and tensors contradict each other.
    """
    _require_plain(config, what)
    places = {_tail(name): name for name in maps}
    pairs: dict[str, dict[str, mx.array]] = {}
    sources: dict[tuple[str, str], str] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(re.escape(PEFT_PREFIX) + r"(.+)\.lora_([AB])(?:\.default)?\.weight", name)
        if found is None or tensor.ndim != 2:
            raise VerificationError(f"{what} holds {name}", expected="lora_A and lora_B of linear maps")
        path = found[1] if found[1] in maps else places.get(_tail(found[1]), found[1])
        if (twin := sources.setdefault((path, found[2]), name)) != name:
            raise VerificationError(f"{what} has lora_{found[2]} of {path} twice", got=f"{twin} and {name}")
        pairs.setdefault(path, {})[found[2].lower()] = tensor.astype(mx.float32).T
    scales = {path: _peft_scale(config, path, halves.get("a"), what) for path, halves in pairs.items()}
    common = next(iter(scales.values()), 1.0)
    params: Params = {}
    for path, halves in pairs.items():
        for half, tensor in halves.items():
            own = scales[path] / common if half == "b" else 1.0
            params[f"{path}.lora_{half}"] = mx.contiguous(tensor if own == 1.0 else own * tensor)
    return Adapter(params, common)


def _require_plain(config: JsonDict, what: str) -> None:
    """Raise VerificationError where PEFT's config says more than ``y + scale (x A) B`` on the base as it is."""
    for key, allowed in PLAIN.items():
        if (value := config.get(key, allowed[0])) not in allowed:
            raise VerificationError(f"{what} is more than a LoRA adapter", expected=f"{key} {allowed[0]}", got=value)
    for key, value in config.items():
        if value and key not in PLAIN and key not in ALLOWED:
            raise VerificationError(
                f"{what} is more than a LoRA adapter, or a variant of LoRA that align does not know",
                expected=f"no {key}",
                got=value,
            )
    begun = str(config.get("init_lora_weights", True)).lower()
    if begun.startswith(CHANGES_THE_BASE):
        raise VerificationError(
            f"{what} belongs to a base that PEFT changed",
            expected="an adapter on the base as it is",
            got=f"init_lora_weights {begun}",
            do="Save it with path_initial_model_for_weight_conversion",
        )


def _peft_scale(config: JsonDict, path: str, a: mx.array | None, what: str) -> float:
    rank = _patterned(config, "rank_pattern", path, config.get("r"), what)
    alpha = _number(_patterned(config, "alpha_pattern", path, config.get("lora_alpha"), what), f"{what}: lora_alpha")
    if a is not None and a.shape[1] != rank:
        raise VerificationError(f"{what}: {path} has rank {a.shape[1]}", expected=f"r {rank} of adapter_config.json")
    rank = _number(rank, f"{what}: r")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _patterned(config: JsonDict, key: str, path: str, default: Any, what: str) -> Any:
    """Give what a pattern of PEFT says of a map: the first one that matches the end of its name."""
    patterns = config.get(key) or {}
    if not isinstance(patterns, dict):
        raise VerificationError(f"{what}: {key}", expected="an object", got=patterns)
    for pattern, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", path):
                return value
        except re.error as error:
            raise VerificationError(f"{what}: {key} {pattern!r} is no pattern", got=str(error)) from error
    return default


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise VerificationError(what, expected="a positive number", got=repr(value))
    return float(value)


def _within_block(name: str) -> str:
    """``model.layers.3.mlp.up_proj`` → ``mlp.up_proj``."""
    return name.split(f".{block_index(name)}.", 1)[1]


def _tail(name: str) -> str:
    """Block number and name inside the block: what programs that call the blocks otherwise agree on."""
    found = re.search(r"\.(\d+\..+)$", name)
    return found[1] if found else name
