"""What pydantic found wrong, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MESSAGES = {
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "path_type": "expected a path",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "extra_forbidden": "there is no such setting",
}


def plain(error: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors as a sentence without its jargon.

    Args:
        error: an entry of ``ValidationError.errors()``.
    """
    context = error.get("ctx", {})
    if isinstance(cause := context.get("error"), Exception):
        return str(cause)
    if error["type"] in ("too_short", "too_long"):
        least = error["type"] == "too_short"
        return f"expected at {'least' if least else 'most'} {context['min_length' if least else 'max_length']}"
    message = _MESSAGES.get(error["type"]) or str(error["msg"]).replace("Input should be", "expected", 1)
    return message[:1].lower() + message[1:]
