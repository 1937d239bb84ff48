"""Where and in what number format to compute.

Weights have a storage form (4-bit, as the study wants) and a compute form chosen by the backend: quantized on
Metal, where the 4-bit product is fast; dequantized once to dense fp32 on CPU and dense bf16 on CUDA, where it is
not. The values are the same numbers.
"""

import os
import sys
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

import align_mlx
from align_contracts.errors import ConfigError
from align_mlx import blas, heap
from align_mlx.units import GIB

Form = Literal["auto", "quantized", "dense"]
SMALL_BUFFERS = {"MLX_MAX_OPS_PER_BUFFER": "5", "MLX_MAX_MB_PER_BUFFER": "50"}
"""Command buffers where memory is short. Bytes count on Metal and in CUDA graphs; a CUDA stream counts operations."""
SLACK = 0.92
"""MLX's own limit, as a share of the user's: it waits above it, and a few buffers later."""
CACHE_SHARE = {"metal": 1 / 8, "cuda": 1 / 8, "cpu": 0.0}
"""Share of `memory_bytes` that MLX may keep for reuse, unless `ALIGN_CACHE_GIB` in the environment says how many GiB.

On a CPU the C library keeps it instead (`align_mlx.heap`).
"""
DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class Compute:
    """A compute form: the number format of activations, and whether quantized weights are made dense."""

    dtype: mx.Dtype
    dense: bool


def backend() -> str:
    """Name the backend in use: ``"metal"``, ``"cuda"`` or ``"cpu"``."""
    if mx.default_device() == mx.Device(mx.cpu):
        return "cpu"
    return "metal" if sys.platform == "darwin" else "cuda"


def choose(form: str = "auto", dtype: str = "auto") -> Compute:
    """Choose the compute form for this machine.

    Args:
        form: ``"auto"``, ``"quantized"`` or ``"dense"``.
        dtype: ``"auto"``, ``"float32"`` or ``"bfloat16"``. Never fp16: Gemma overflows in it.

    Returns:
        Quantized bf16 on Metal, dense bf16 on CUDA, dense fp32 on CPU, each part as asked where not ``"auto"``.

    Raises:
        ConfigError: an unknown form or dtype.
    """
    device = backend()
    if form not in ("auto", "quantized", "dense"):
        raise ConfigError("unknown compute form", expected="auto, quantized or dense", got=repr(form))
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError("unknown compute dtype", expected="auto, float32 or bfloat16", got=repr(dtype))
    chosen = DTYPES[dtype] if dtype != "auto" else (mx.float32 if device == "cpu" else mx.bfloat16)
    return Compute(dtype=chosen, dense=form == "dense" or (form == "auto" and device != "metal"))


def pass_tokens() -> int:
    """Give the padded tokens of a pass beyond which this backend gets no faster; a CPU gets slower: small caches."""
    return {"cpu": 1024, "metal": 4096, "cuda": 16384}[backend()]


def bound_memory(gib: float | None) -> None:
    """Keep MLX within a limit; to be called before anything is computed.

    MLX holds every temporary of a command buffer until the whole buffer is done, so a limit that the user sets also
    makes the buffers small (read once, when MLX first uses a GPU): at Gemma-2B's size a third of the memory at the same
    speed. A GPU is sent work ahead of what it has done, and MLX waits when that holds more than its own limit, which is
    set below ours. `MLX_MAX_OPS_PER_BUFFER` and `MLX_MAX_MB_PER_BUFFER` in the environment go before.

    Args:
        gib: GiB; None for most of what the machine has.
    """
    if gib is not None:
        for name, value in SMALL_BUFFERS.items():
            os.environ.setdefault(name, value)
        mx.set_memory_limit(int(SLACK * memory_bytes(gib)))


def memory_bytes(gib: float | None = None) -> int:
    """Give a limit in bytes; None: the GPU's recommended working set, or most of its memory, or ¾ of a CPU's."""
    if gib is not None:
        return int(gib * GIB)
    about = mx.device_info()
    for name in ("max_recommended_working_set_size", "total_memory", "memory_size"):
        if name in about:
            return int(about[name]) if name.startswith("max") else int(0.9 * int(about[name]))
    return int(0.75 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def bound_cache() -> int:
    """Bound the memory that MLX keeps after freeing it, so that several processes fit one accelerator.

    Sequences of ever new lengths leave buffers that fit no later request; without a bound each process keeps them
    until the memory is full. `ALIGN_CACHE_GIB` sets another bound than `CACHE_SHARE`; 0 keeps nothing.

    Returns:
        The bound in bytes.

    Raises:
        ConfigError: `ALIGN_CACHE_GIB` is not a number ≥ 0, or `ALIGN_BLAS` names what cannot be loaded.
    """
    blas.require(align_mlx.BLAS)
    device = backend()
    if device == "cpu" and sys.platform == "linux":
        heap.keep_pages()
    text = os.environ.get("ALIGN_CACHE_GIB", str(CACHE_SHARE[device] * memory_bytes() / GIB))
    try:
        gib = float(text)
    except ValueError:
        gib = -1.0
    if not 0 <= gib < float("inf"):
        raise ConfigError("ALIGN_CACHE_GIB", expected="a number of GiB, 0 or more", got=repr(text))
    limit = int(gib * GIB)
    mx.set_cache_limit(limit)
    return limit
