"""What is recorded about the program and the machine, gathered cheaply and without importing MLX."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from align_contracts.canonical import sha256_bytes

_COMMAND_SECONDS = 5


def producer(package: str) -> dict[str, Any]:
    """Describe the publishing program.

    Args:
        package: distribution name; its installed version is looked up.

    Returns:
        {package, version, git_commit, git_dirty, lock_digest}; the last three are null outside a checkout.
    """
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {"package": package, "version": version, **_checkout()}


def environment(device: str | None = None) -> dict[str, Any]:
    """Describe the machine and MLX, if MLX is in use in this process.

    Args:
        device: MLX's device, where it was asked elsewhere.

    Returns:
        {os, chip, memory (bytes), device, mlx_version, determinism_class}.
    """
    device, mlx = device or _mlx_device(), _mlx_version()
    kind = "none" if device is None else ("gpu" if "gpu" in device.lower() else "cpu")
    system, machine = platform.system().lower(), platform.machine()
    return {
        "os": f"{platform.system()} {platform.release()}",
        "chip": _chip(),
        "memory": _memory_bytes(),
        "device": device,
        "mlx_version": mlx,
        "determinism_class": f"{system}-{machine}-{kind}-mlx{mlx or 'none'}",
    }


@functools.cache
def _checkout() -> dict[str, Any]:
    """Commit and lock of the checkout that holds this very file; an installed wheel has none."""
    nothing: dict[str, Any] = {"git_commit": None, "git_dirty": None, "lock_digest": None}
    root = Path(__file__).resolve().parents[3]  # <root>/contracts/src/align_contracts/provenance.py
    if not (root / ".git").exists() or not (root / "contracts" / "pyproject.toml").is_file():
        return nothing
    lock = root / "uv.lock"
    nothing["lock_digest"] = sha256_bytes(lock.read_bytes()) if lock.is_file() else None
    status = _output(
        "git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"
    ).splitlines()
    commits = [line.split()[-1] for line in status if line.startswith("# branch.oid ")]
    if not commits or commits[0] == "(initial)":
        return nothing
    dirty = any(not line.startswith("#") for line in status)
    return {**nothing, "git_commit": commits[0], "git_dirty": dirty}


@functools.cache
def _chip() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string").strip() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def _mlx_device() -> str | None:
    core = sys.modules.get("mlx.core")  # looked up, never imported: this package stands below MLX
    return str(core.default_device()) if core is not None else None


@functools.cache
def _mlx_version() -> str | None:
    try:
        return metadata.version("mlx")
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, env=quiet, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
