"""The file that says why a run stopped: ``diagnosis.json``, strict JSON, numbers that are not finite as text."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts.durable import sync
from align_mlx.adapters import Params
from align_mlx.compute import DTYPES, Compute, backend

FILE = "diagnosis.json"
LARGEST = 8
"""How many tensors a list of norms names."""


def write(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write a diagnosis into a run's folder, whole or not at all, and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / FILE, folder / f".{FILE}"
    partial.write_text(json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    sync(partial)
    partial.replace(path)
    sync(folder)
    return path


def plain(value: Any) -> Any:
    """Give a value as strict JSON has it: NaN and infinities become "nan", "inf" and "-inf"."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def norms(arrays: Params) -> dict[str, float]:
    """Give the joint norm (``all``) and the largest norms by tensor; those that are not finite come first."""
    found = {name: float(mx.linalg.norm(array.astype(mx.float32)).item()) for name, array in arrays.items()}
    order = sorted(found, key=lambda name: (math.isfinite(found[name]), -found[name] if found[name] > 0 else 0.0))
    joint = math.sqrt(sum(value * value for value in found.values()))
    return {"all": joint, **{name: found[name] for name in order[:LARGEST]}}


def environment(compute: Compute) -> dict[str, str]:
    """Say what the run computed in: number format, form of the weights, backend, version of MLX."""
    dtype = next((name for name, dtype in DTYPES.items() if dtype == compute.dtype), str(compute.dtype))
    form = "dense" if compute.dense else "quantized"
    return {"dtype": dtype, "form": form, "backend": backend(), "mlx": mx.__version__}


def remedies(quantity: str, weights: bool, offending: int, rows: int, limit: int, compute: Compute) -> list[str]:
    """Say what to try, the likeliest first.

    Args:
        quantity: what was not finite.
        weights: whether weights are.
        offending: rows whose own numbers are not finite.
        rows: rows looked at.
        limit: rows that may be left out.
        compute: the run's number format.
    """
    slower = "start over (--resume never) with a lower --learning-rate, or with more warm-up"
    if weights:
        remake = "validate the inputs (align-contracts validate --deep), and make the one that holds the tensor anew"
        return [remake, slower]
    found = []
    if 0 < offending < rows:
        skip = f"--skip-nonfinite-rows {limit + offending}"
        found.append(f"look at the rows named; the same command with {skip} leaves them out")
        found.append("remove them from the data and start over")
    if quantity.startswith("reward"):
        found.append("check the reward model on these rows, and the mean and std of its calibration")
    if quantity == "KL":
        found.append("hold the policy nearer to its reference: a lower --target-kl, or --controller pullback")
    precise = ["start over with --compute-dtype float32"] if compute.dtype != mx.float32 else []
    return [*found, slower, *precise, "start over with a smaller --max-grad-norm"]
