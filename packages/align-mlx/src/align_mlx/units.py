"""Amounts of memory as people write them."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from align_contracts.errors import ConfigError

GIB = 2**30
_UNITS = {"": 1, "b": 1} | {
    prefix + unit: base**power
    for unit, base in (("b", 1000), ("ib", 1024))
    for power, prefix in enumerate(("k", "m", "g", "t"), start=1)
}
_LEAST_BYTES = 2**20
"""A bare number from here on is one of bytes: so many GiB no machine has."""


def gib(given: Any) -> Any:
    """Turn ``8``, ``"7.5GiB"``, ``"8GB"`` or a number of bytes into GiB; what is no text or number stays as it is.

    Args:
        given: a bare number is GiB, from 2^20 on bytes. Units: kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB
            (powers of 1024), B; their case does not matter.

    Raises:
        ConfigError: a text that is no amount.
    """
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        return given
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)", str(given).strip().lower())
    try:
        number = float(match[1]) if match else None
    except ValueError:
        number = None
    if match is None or number is None or match[2] not in _UNITS:
        amount = "GiB, or a number with a unit, as in 8GB or 7.5GiB"
        raise ConfigError("no amount of memory", expected=amount, got=given)
    if match[2] or number >= _LEAST_BYTES:
        return number * _UNITS[match[2]] / GIB
    return number


Gib = Annotated[float, BeforeValidator(gib)]
"""A setting in GiB that may be given with a unit."""
