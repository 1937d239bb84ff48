"""The judge's prompt: versioned text files, two forms of its reply, and reading one."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any, Literal

from align_eval.judges.base import Choice

ReplyForm = Literal["json_schema", "label"]
"""How a model is made to answer: the endpoint holds it to a JSON schema, or it is asked for a label."""

PROMPT = "pairwise-v1"
REPLIES: dict[ReplyForm, str] = {"json_schema": "reply-json-schema-v1", "label": "reply-label-v1"}
"""How each form is asked for, behind the prompt."""


def _schema(name: str, **properties: Any) -> dict[str, Any]:
    body = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"name": name, "strict": True, "schema": body}


_VERDICT = {"type": "string", "enum": ["A", "B", "tie"]}

REPLY_SCHEMA = _schema("pairwise_verdict", reason={"type": "string"}, verdict=_VERDICT)
"""The reply's JSON schema; the reason comes first so that the verdict can follow from it."""

PROBE_TEXT = "Say hello."
"""Asked once with `PROBE_SCHEMA`: only an endpoint that holds its model to the schema answers this with a verdict."""

PROBE_SCHEMA = _schema("verdict", verdict=_VERDICT)

_PLACE = re.compile(r"\{(prompt|first|second)\}")
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_LABEL = re.compile(r"^Verdict: (A|B|tie)[ \t\r]*$", re.MULTILINE)
_CHOICES: dict[str, Choice] = {"A": "first", "B": "second", "tie": "tie"}


def load_prompt(form: ReplyForm) -> str:
    """Read the prompt that ships with the package, with the end that asks for a form of reply.

    Returns:
        The text with the places {prompt}, {first} and {second}.
    """
    folder = resources.files("align_eval.judges") / "prompts"
    return "".join((folder / f"{name}.txt").read_text("utf-8") for name in (PROMPT, REPLIES[form]))


def fill(template: str, prompt: str, first: str, second: str) -> str:
    """Put the texts in their places, in one pass: braces inside an answer stay what they are."""
    texts = {"prompt": prompt, "first": first, "second": second}
    return _PLACE.sub(lambda match: texts[match.group(1)], template)


def read_choice(form: ReplyForm, reply: str | None) -> Choice:
    """Read the verdict of a reply; nothing is guessed from prose.

    Args:
        form: How it was asked for.
        reply: The reply's text; None for a refusal, or a reply that was cut off.

    Returns:
        The choice; "invalid" unless the reply is one JSON object (a code fence around it is allowed) whose verdict is
        A, B or tie; or, as a label, unless its last line is exactly ``Verdict: A``, ``Verdict: B`` or ``Verdict: tie``
        and no other line is one of these that says something else.
    """
    if reply is None:
        return "invalid"
    return _read_json(reply) if form == "json_schema" else _read_label(reply)


def _read_json(reply: str) -> Choice:
    fenced = _FENCE.match(reply)
    try:
        value = json.loads(fenced.group(1) if fenced else reply)
    except (ValueError, RecursionError):
        return "invalid"
    verdict = value.get("verdict") if isinstance(value, dict) else None
    return _CHOICES.get(verdict, "invalid") if isinstance(verdict, str) else "invalid"


def _read_label(reply: str) -> Choice:
    reply = reply.strip()
    labels = list(_LABEL.finditer(reply))
    if not labels or labels[-1].end() != len(reply) or len({label.group(1) for label in labels}) != 1:
        return "invalid"
    return _CHOICES[labels[-1].group(1)]
