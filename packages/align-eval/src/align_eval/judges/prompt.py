"""The judge's prompt: a versioned text file, the form of its reply, and reading one."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

from align_eval.judges.base import Choice

PROMPT_FILE = "pairwise-v1.txt"

REPLY_SCHEMA: dict[str, Any] = {
    "name": "pairwise_verdict",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "verdict": {"type": "string", "enum": ["A", "B", "tie"]},
        },
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    },
}
"""The reply's JSON schema; the reason comes first so that the verdict can follow from it."""

_PLACE = re.compile(r"\{(prompt|first|second)\}")
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_CHOICES: dict[str, Choice] = {"A": "first", "B": "second", "tie": "tie"}


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt with the places {prompt}, {first} and {second}."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """sha256 of the file's bytes."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    def fill(self, prompt: str, first: str, second: str) -> str:
        """Put the texts in their places, in one pass: braces inside an answer stay what they are."""
        texts = {"prompt": prompt, "first": first, "second": second}
        return _PLACE.sub(lambda match: texts[match.group(1)], self.text)


def load_template(name: str = PROMPT_FILE) -> PromptTemplate:
    """Read a prompt that ships with the package."""
    path = resources.files("align_eval.judges") / "prompts" / name
    return PromptTemplate(name, path.read_bytes().decode("utf-8"))


def read_choice(reply: str | None) -> Choice:
    """Read the verdict of a reply.

    Args:
        reply: The reply's text; None for a refusal.

    Returns:
        The choice; "invalid" unless the reply is one JSON object (a code fence around it is allowed) whose
        verdict is A, B or tie. Nothing is guessed from prose.
    """
    if reply is None:
        return "invalid"
    fenced = _FENCE.match(reply)
    try:
        value = json.loads(fenced.group(1) if fenced else reply)
    except (ValueError, RecursionError):
        return "invalid"
    verdict = value.get("verdict") if isinstance(value, dict) else None
    return _CHOICES.get(verdict, "invalid") if isinstance(verdict, str) else "invalid"
