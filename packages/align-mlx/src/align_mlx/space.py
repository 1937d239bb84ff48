"""How much disk a training run takes, from its state and its settings."""

from align_mlx.settings import ResumeSettings
from align_mlx.train_state import TrainState

_ARRAYS = 3
"""A checkpoint holds each parameter and AdamW's two moments of it."""


def training_parts(
    state: TrainState, settings: ResumeSettings, *, best: bool = False, made: str = "the adapter"
) -> dict[str, int]:
    """Give the bytes that a run writes: what it makes, and checkpoints, of which one more is in the making than kept.

    Args:
        state: parameters in fp32.
        settings: how many checkpoints are kept.
        best: whether the best parameters so far are in a checkpoint too.
        made: what to call the parameters.
    """
    params = sum(value.nbytes for value in state.params.values())
    kept = settings.keep_checkpoints
    return {made: params, f"{kept} + 1 checkpoints": (kept + 1) * (_ARRAYS + best) * params}
