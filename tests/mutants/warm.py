"""What the process of every mutant has imported already: third-party packages, which take longer than most tests.

MLX comes by way of `align_mlx`, which loads a BLAS before it. Our own modules are forgotten again: each tree has its.
"""

import sys

import mlx_lm.tokenizer_utils
import mlx_lm.utils
import pydantic
import pytest

import align_mlx

__all__ = ["align_mlx", "mlx_lm", "pydantic", "pytest"]

for name in [name for name in sys.modules if name.startswith("align_")]:
    del sys.modules[name]
