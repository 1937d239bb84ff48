"""What is installed and what it runs on, for a report of a bug: `align-contracts env`.

No paths, no names of people or machines, no values of settings that may be secret: it is made to be pasted in public.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from align_contracts import provenance
from align_contracts.manifest import MAJOR, MINOR
from align_contracts.space import amount

OURS = ("contracts", "data", "mlx", "sft", "rm", "rl", "eval")
LIBRARIES = (
    *("mlx", "mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13", "mlx-lm", "pydantic", "numpy", "scipy"),
    *("safetensors", "transformers", "tokenizers", "datasets", "openai"),
)
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MLX_ENABLE_TF32", "MLX_USE_CUDA_GRAPHS")
"""Environment variables that change speed or rounding; no others are shown."""

_PROBE_SECONDS = 60
# MLX is asked in a process of its own: this package stands below it, and an installation that is broken must not
# break the report that is to say so.
_PROBE = """
import json
try:
    from align_mlx import BLAS as blas
except ImportError:
    blas = None
import mlx.core as mx
print(json.dumps({"device": str(mx.default_device()), "blas": blas}))
"""


def facts() -> dict[str, Any]:
    """Return what is installed and what it runs on.

    Returns:
        {packages, libraries (by name, with versions), schema, python, os, chip, cores, memory and disk_free (bytes),
        device, blas, determinism_class, git_commit, git_dirty, lock_digest, variables}; null where a thing is unknown
        or absent.
    """
    probed = _probe()
    machine = provenance.environment(probed["device"])
    program = provenance.producer("align-contracts")
    return {
        "packages": {name: version for part in OURS if (version := _version(name := f"align-{part}"))},
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "schema": f"{MAJOR}.{MINOR}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": machine["os"],
        "chip": machine["chip"],
        "cores": os.cpu_count(),
        "memory": machine["memory"],
        "disk_free": shutil.disk_usage(".").free,
        **probed,
        "determinism_class": machine["determinism_class"],
        **{name: program[name] for name in ("git_commit", "git_dirty", "lock_digest")},
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def render(found: dict[str, Any]) -> list[str]:
    """Return the facts as lines of text, one a line."""
    commit = (found["git_commit"] or "none: installed, not a checkout")[:40]
    rows = {
        **found["packages"],
        "manifest schema": found["schema"],
        "commit": commit + (" (modified)" if found["git_dirty"] else ""),
        "lock": (found["lock_digest"] or "none")[:12],
        "python": found["python"],
        **found["libraries"],
        "os": found["os"],
        "chip": f"{found['chip']}, {found['cores']} cores",
        "memory": amount(found["memory"]),
        "disk free here": amount(found["disk_free"]),
        "device": found["device"] or "none",
        "BLAS": found["blas"] or "unknown",
        "determinism": found["determinism_class"],
        **found["variables"],
    }
    width = max(map(len, rows))
    return [f"{name:{width}}  {value}" for name, value in rows.items()]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _probe() -> dict[str, str | None]:
    """Ask MLX for its device and align-mlx for its BLAS; both null, or the reason, when MLX does not load."""
    if _version("mlx") is None:
        return {"device": None, "blas": None}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError):
        return {"device": "MLX could not be asked", "blas": None}
    except ValueError:
        reason = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return {"device": f"MLX does not load: {_homeless(reason)}", "blas": None}
    return {"device": str(answer["device"]), "blas": answer["blas"] and _homeless(answer["blas"])}


def _homeless(text: str) -> str:
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
