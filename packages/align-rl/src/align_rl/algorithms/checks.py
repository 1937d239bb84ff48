"""Shape checks shared by the algorithms: a wrong shape is named before it can broadcast into a wrong number."""

import mlx.core as mx


def same_shape(rank: int, **arrays: mx.array) -> None:
    """Check that all arrays have one shape of this rank.

    Raises:
        ValueError: naming the arrays, what was expected and what came.
    """
    shapes = {name: tuple(a.shape) for name, a in arrays.items()}
    first = next(iter(shapes.values()))
    if len(first) != rank or len(set(shapes.values())) != 1:
        raise ValueError(f"expected equal shapes of rank {rank}, got {shapes}")
