"""Shapes of the models that benchmarks measure, and random models of them in memory. Imports MLX only when asked."""

import zlib
from typing import Any

SHAPES = {
    "gemma-2b": {
        "hidden_size": 2048,
        "num_hidden_layers": 18,
        "intermediate_size": 16384,
        "num_attention_heads": 8,
        "head_dim": 256,
        "vocab_size": 256_000,
    },
    "mini": {
        "hidden_size": 256,
        "num_hidden_layers": 8,
        "intermediate_size": 1024,
        "num_attention_heads": 4,
        "head_dim": 64,
        "vocab_size": 8192,
    },
}


def make_resident(shape: dict[str, int], dense: bool) -> Any:
    """Make a random Gemma of a shape in bf16, or in 4 bits, one matrix at a time."""
    import align_mlx  # noqa: F401  isort: skip  (loads the BLAS before mlx.core)
    import mlx.core as mx
    from mlx import nn
    from mlx_lm.models.gemma import Model, ModelArgs

    from align_mlx import adapters as lora
    from align_mlx import fastmath
    from align_mlx.compute import Compute
    from align_mlx.resident import Resident

    model = Model(ModelArgs(model_type="gemma", num_key_value_heads=1, rms_norm_eps=1e-6, **shape))

    def draw(name: str, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            key = mx.random.key(zlib.crc32(name.encode()))
            module.weight = (0.02 * mx.random.normal(module.weight.shape, key=key)).astype(mx.bfloat16)
            mx.eval(module.weight)

    model.apply_to_modules(draw)
    model.set_dtype(mx.bfloat16)
    if not dense:
        nn.quantize(model, 64, 4)
    model.freeze()
    fastmath.speed_up(model)
    mx.eval(model.parameters())
    mx.clear_cache()
    return Resident(model, None, lora.wrap(model), Compute(mx.bfloat16, dense), frozenset({1}))
