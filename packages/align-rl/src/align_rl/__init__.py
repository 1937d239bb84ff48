"""PPO and GRPO in one visible loop."""

import align_mlx  # noqa: F401  (loads the fast BLAS: it must come before the first import of mlx.core)
