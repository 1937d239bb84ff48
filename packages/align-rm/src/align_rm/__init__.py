"""Bradley-Terry reward models: training, calibration and evaluation."""

import align_mlx  # noqa: F401  (loads the fast BLAS: it must come before the first import of mlx.core)
