"""Small files of AlpacaEval's form, whose numbers are worked out by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

# Six pairs: preferences 1, 2, 1.5, 1.25, 1.75 and none. Seen from output_2 they are 0, 1, ½, ¼, ¾: mean ½,
# squared deviations ¼, ¼, 0, 1/16, 1/16, sum 5/8, variance 5/32 (n − 1 = 4), standard error √(5/32)/√5 = √(1/32).
PREFERENCES: tuple[Any, ...] = (1, 2.0, 1.5, 1.25, 1.75, None)


def row(i: int, preference: Any, **changed: Any) -> dict[str, Any]:
    """A pair: the baseline's answer has 10 characters, the candidate's 10 + i."""
    return {
        "instruction": f"Instruction {i}",
        "output_1": "b" * 10,
        "generator_1": "base",
        "dataset": "helpful_base",
        "output_2": "c" * (10 + i),
        "generator_2": "mine",
        "annotator": "a judge",
        "preference": preference,
        "raw_completion": {"logprobs": [{"token": "m", "logprob": -0.1}]},
        **changed,
    }


def rows() -> list[dict[str, Any]]:
    """The six pairs."""
    return [row(i, preference) for i, preference in enumerate(PREFERENCES)]


def write(path: Path, content: Any, *, packed: bool = False) -> Path:
    """Write a file; bytes as they are, anything else as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path
