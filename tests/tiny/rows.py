"""Small datasets by the real store, and the rows that they hold."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from align_contracts import Artifact, open_artifact, publish

Row = dict[str, Any]


def turns(question: str, answer: str) -> list[dict[str, str]]:
    """Give a question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def chat_row(prompt_id: str, question: str, answer: str, score: float) -> Row:
    """Give a row of the files ``sft/…``."""
    return {"prompt_id": prompt_id, "messages": turns(question, answer), "score": score}


def prompt_row(prompt_id: str, prompt: str, category: str = "factual") -> Row:
    """Give a row of the files ``prompts/…``."""
    return {"prompt_id": prompt_id, "prompt": prompt, "category": category}


def publish_rows(path: Path, files: Mapping[str, Iterable[Row]], formats: Sequence[str] = ("chosen",)) -> Artifact:
    """Publish a dataset.

    Args:
        path: the artifact's directory.
        files: rows by the file's name without ending: ``prompts/train``.
        formats: the SFT formats that its details list.
    """
    counts = {}
    with publish(path, "dataset", producer="align-data", config={}) as draft:
        for name, rows in files.items():
            role, held = name.replace("/", "_"), list(rows)
            draft.write_jsonl(f"{name}.jsonl", held, role=role)
            counts[role] = len(held)
        draft.details = {
            "source": "test",
            "split_seed": 42,
            "counts": counts,
            "categories": {},
            "formats": list(formats),
            "has_checks": False,
        }
    return open_artifact(path)
