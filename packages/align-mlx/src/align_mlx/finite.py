"""Whether arrays are finite: one fused check for the good path, and which tensor it is for the bad one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import mlx.core as mx

from align_contracts.errors import AlignError, VerificationError

SHOWN = 4
"""How many names a message gives."""


@dataclass(frozen=True)
class Broken:
    """A tensor with elements that are not finite.

    Attributes:
        name: its name.
        nan, inf: elements that are NaN, and that are infinite.
        size: all its elements.
    """

    name: str
    nan: int
    inf: int
    size: int

    def __str__(self) -> str:
        kinds = [f"{count} {kind}" for count, kind in ((self.nan, "NaN"), (self.inf, "inf")) if count]
        return f"{self.name} ({' and '.join(kinds)} of {self.size})"


def all_finite(arrays: Iterable[mx.array]) -> mx.array:
    """Whether every element of every array is finite: one boolean, not yet computed.

    A sum is NaN or infinite if one of its terms is, and reads an array once. Finite numbers whose sum overflows
    (10⁷ of 10³¹) count as not finite too: no weight is that large.
    """
    sums = [array.sum() for array in arrays]
    return mx.isfinite(mx.stack(sums)).all() if sums else mx.array(True)


def broken(arrays: Mapping[str, mx.array]) -> list[Broken]:
    """Give the tensors that hold NaN or infinity, in the order of the mapping; computed one after the other."""
    found = []
    for name, array in arrays.items():
        if mx.issubdtype(array.dtype, mx.floating) and not mx.isfinite(array).all().item():
            nan, inf = int(mx.isnan(array).sum().item()), int(mx.isinf(array).sum().item())
            found.append(Broken(name, nan, inf, array.size))
    return found


def require_finite(
    arrays: Mapping[str, mx.array], what: str, *, do: str, error: Callable[..., AlignError] = VerificationError
) -> None:
    """Refuse arrays that hold NaN or infinity.

    Args:
        arrays: tensors by name.
        what: whose they are, for the message.
        do: what to do about it.
        error: the class to raise.

    Raises:
        AlignError: of that class, naming the first tensors and how many elements of each it is.
    """
    if found := broken(arrays):
        raise error(f"{what} holds weights that are not finite", expected="finite numbers", got=listed(found), do=do)


def listed(found: Iterable[object]) -> str:
    """Name the first few of many."""
    names = [str(one) for one in found]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
