"""Which modules are measured, and the tests that are run for them. To add one, name it here."""

from dataclasses import dataclass

LEAST = 95.0
"""Percent of the branches of every module."""


@dataclass(frozen=True)
class Group:
    """Modules that belong together.

    Attributes:
        modules: dotted names.
        tests: files and directories given to pytest.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]


STORE = (
    "artifact canonical checks compatibility content draft durable errors hostile licences lineage manifest migrations "
    "paths records safetensors_header schema settings signals store verify"
)
CHECKPOINT = "checkpoints identity live unfinished train_state tensors space training"
CHECKPOINT_TESTS = "finite guard space tensors train_state unfinished"
GROUPS = {
    "store": Group(tuple(f"align_contracts.{name}" for name in STORE.split()), ("contracts/tests",)),
    "checkpoint": Group(
        tuple(f"align_mlx.{name}" for name in CHECKPOINT.split()),
        tuple(f"packages/align-mlx/tests/test_{name}.py" for name in CHECKPOINT_TESTS.split()),
    ),
}
