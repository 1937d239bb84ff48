"""Base models and supervised fine-tuning (QLoRA)."""

import align_mlx  # noqa: F401  (loads the fast BLAS: it must come before the first import of mlx.core)
