"""Writing arrays to safetensors files."""

from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx


def save_tensors(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to a safetensors file.

    MLX gets an open file and no path: a full disk is then the system's own error with its number, which the store
    turns into a message, and not a bare RuntimeError.

    Args:
        path: the file to be; one that is there is replaced in place.
        arrays: arrays by name.
        metadata: texts for the header; ``{"format": "mlx"}`` unless given.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        mx.save_safetensors(file, dict(arrays), metadata=dict(metadata or {"format": "mlx"}))
