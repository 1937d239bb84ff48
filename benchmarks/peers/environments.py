"""Environments of the peers: made once, with exact versions, in a cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

MLX = "mlx[cpu]" if sys.platform == "linux" else "mlx"


def pins(peer: str) -> list[str]:
    """Give what a peer's environment holds: MLX, mlx-lm and SciPy (for its BLAS) as in ours."""
    if peer == "trl":
        return [
            "torch==2.13.0",
            "trl==1.16.0",
            "peft==0.21.2",
            "transformers==5.23.0",
            "accelerate==1.15.0",
            "datasets==5.2.0",
        ]
    ours = [f"{name}=={version(package)}" for name, package in ((MLX, "mlx"), ("mlx-lm", "mlx-lm"), ("scipy", "scipy"))]
    return ["mlx-lm-lora==5.10.2", *ours]


def python_of(peer: str) -> Path:
    """Give the Python of a peer's environment, which is made first if it is not there.

    On Linux pip takes the CUDA build of torch (some GB) unless its configuration offers a CPU build of that version.

    Raises:
        subprocess.CalledProcessError: pip could not install a pinned version; nothing half-made stays.
    """
    wanted = pins(peer)
    digest = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "align" / "peers"
    folder = cache / f"{peer}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"making the environment of {peer} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *wanted], check=True)
        (folder / "complete").touch()
    return python
