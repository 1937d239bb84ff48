"""Token by token: what the policy changed of the reference, and what each token was credited with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align_contracts import Artifact
from align_eval.trajectory import Row, Trajectory, methods_of

Json = dict[str, Any]
Spell = Callable[[Sequence[int]], list[str]]
Prompts = Mapping[str, Row]

ANSWERS = 3
"""Most answers shown of a method's evaluation point, one a category."""
TRAINING = "training rollout"
EVALUATION = "evaluation point"


def token_views(runs: Sequence[Trajectory], prompts: Prompts) -> Json:
    """Show some answers of the first run of each method, at its published evaluation point and in training.

    An evaluation point draws one answer a prompt, so GRPO has no group there and no advantages; the training rollout
    that a run keeps beside the point has whole groups, with the advantages that the update used.

    Args:
        runs: The runs.
        prompts: Rows of all prompts that runs answer, by prompt_id.

    Returns:
        {missing, views}: `missing` says in words what a run has not kept.
    """
    missing: list[str] = []
    views: list[Json] = []
    for members in methods_of(runs).values():
        run = members[0]
        point = run.published or (run.trained[-1] if run.trained else None)
        rows = point.read() if point else []
        if point is None or not rows:
            missing.append(f"{run.label} kept no answers of an evaluation point")
            continue
        spell = speller(run.policy)
        chosen = [row for row in _one_a_category(rows, prompts) if row.get("logprobs")]
        views += [_view(run, point.iteration, EVALUATION, row, prompts, spell, point.gold) for row in chosen]
        kept = _lessons(_rollout(run, point.iteration))
        views += [_view(run, point.iteration, TRAINING, row, prompts, spell, {}) for row in kept]
        if not chosen:
            missing.append(f"{run.label} kept no log-probs of its answers")
        elif not kept and not any(row.get("advantages") for row in chosen):
            missing.append(
                f"{run.label} kept no training rollout, and a single answer at an evaluation point has no group: "
                "its advantages are not known"
            )
    return {"missing": missing, "views": views}


def speller(policy: Artifact) -> Spell:
    """Read the policy's tokenizer; a base without a tokenizer file gives ids as text.

    Args:
        policy: A policy on a base artifact.

    Returns:
        A function from ids to one text a token; together they are the decoded text.
    """
    path = policy.input("base").path / "tokenizer.json"
    if not path.is_file():
        return lambda ids: [f"#{i}" for i in ids]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda ids: pieces(ids, lambda part: str(tokenizer.decode(list(part), skip_special_tokens=False)))


def pieces(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """Split the text of some ids into that of each, blanks included: what a token adds to the text before it.

    Args:
        ids: Token ids.
        decode: Gives the text of ids.

    Returns:
        One text a token; where a token ends half a character, its text comes with the token that completes it.
    """
    found, before = [], ""
    for end in range(1, len(ids) + 1):
        text = decode(ids[:end])
        whole = text.rstrip("\ufffd") if end < len(ids) else text
        found.append(whole[len(before) :] if whole.startswith(before) else "")
        before = whole if whole.startswith(before) else before
    return found


def _one_a_category(rows: Sequence[Row], prompts: Prompts) -> list[Row]:
    found: dict[str, Row] = {}
    for row in rows:
        category = prompts.get(row["prompt_id"], {}).get("category", "")
        found.setdefault(category, row)
    return list(found.values())[:ANSWERS]


def _rollout(run: Trajectory, iteration: int) -> list[Row]:
    role = f"eval_{iteration:04d}_rollout"
    return run.policy.read_jsonl(role) if any(one.role == role for one in run.policy.manifest.files) else []


def _lessons(rows: Sequence[Row]) -> list[Row]:
    """Of a group the answers with the highest and the lowest reward; single answers as they are."""
    if not rows or not rows[0].get("group"):
        return list(rows)
    group = [row for row in rows if row["prompt_id"] == rows[0]["prompt_id"]][: len(rows[0]["group"]["rewards"])]
    best, worst = (pick(group, key=lambda row: row["reward"]) for pick in (max, min))
    return [best] if best is worst else [best, worst]


def _view(
    run: Trajectory, iteration: int, source: str, row: Row, prompts: Prompts, spell: Spell, gold: Mapping[str, float]
) -> Json:
    logprobs, reference = row["logprobs"], row["ref_logprobs"]
    values, advantages = (row.get(name) or [None] * len(logprobs) for name in ("values", "advantages"))
    columns = zip(spell(row["tokens"]), logprobs, reference, advantages, values, strict=True)
    return {
        "label": run.label,
        "method": run.method,
        "iteration": iteration,
        "source": source,
        "prompt": prompts.get(row["prompt_id"], {}).get("prompt"),
        "response": row["response"],
        "reward": row["reward"],
        "gold": gold.get(row["prompt_id"]),
        "group": row.get("group"),
        "tokens": [
            {"text": text, "logprob": p, "ref_logprob": q, "log_ratio": p - q, "advantage": a, "value": v}
            for text, p, q, a, v in columns
        ],
    }
