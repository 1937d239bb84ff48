"""`align-sft eval`: perplexity of a policy on written answers; for genrm also the scores that it writes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from align_contracts import open_artifact
from align_contracts.errors import ConfigError
from align_mlx.chat import control_tokens, decode_response, encode_prompt, has_control_tokens
from align_mlx.compute import choose
from align_mlx.loading import load_policy
from align_mlx.perplexity import perplexity
from align_mlx.progress import Meter
from align_mlx.resident import Resident
from align_mlx.rollout import Draw, Prompt, require_exact_decoding, sample
from align_sft.algorithms.genrm import mean_absolute_error, parse_score, spearman
from align_sft.config import EvalConfig
from align_sft.rows import encode_rows, read_rows


def run(config: EvalConfig) -> int:
    """Evaluate a policy and print the figures."""
    policy = open_artifact(config.policy, kind="policy")
    data = open_artifact(config.data, kind="dataset") if config.data else policy.input("dataset")
    resident = load_policy(policy, choose(config.compute_form, config.compute_dtype))
    form = policy.details.format
    rows = read_rows(data, form, config.split)[: config.max_rows]
    encoded = encode_rows(rows, resident, config.max_seq_length)
    if not encoded.tokens:
        raise ConfigError(f"no {config.split} row fits", expected=f"at most {config.max_seq_length} tokens")
    found = perplexity(resident, (), encoded.tokens)
    tokens = sum(len(row.response) for row in encoded.tokens)
    figures: dict[str, Any] = {
        "split": config.split,
        "format": form,
        "n": len(encoded.tokens),
        "dropped": sum(encoded.dropped.values()),
        "tokens": tokens,
        "perplexity": found,
    }
    if form == "genrm":
        figures |= written_scores(config, resident, rows)
    if config.json_output:
        print(json.dumps(figures))
        return 0
    print(f"{policy.name} on {config.split}: {figures['n']} rows, {figures['dropped']} dropped")
    print(f"  perplexity           {found:.3f} over {tokens} tokens")
    if form == "genrm":
        print(f"  scores that parse    {figures['parse_rate']:.1%}")
        print(f"  mean absolute error  {_shown(figures['mae'])} points")
        print(f"  Spearman             {_shown(figures['spearman'])}")
    return 0


def written_scores(config: EvalConfig, resident: Resident, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Let the policy write a score for each row, greedily, and compare it with the row's own.

    Args:
        config: length limit and progress.
        resident: base and policy.
        rows: genrm rows with ``messages`` and ``score`` (1 to 10); those whose question holds a control token
                are left out.

    Returns:
        parse_rate (share of texts that state a score), mae (points, over those) and spearman (over those); null where
        nothing parsed or no order exists.

    Raises:
        ConfigError: the policy cannot answer in batches.
    """
    tokenizer = resident.tokenizer
    control = control_tokens(tokenizer)
    rows = [row for row in rows if not has_control_tokens(control, row["messages"][0]["content"])]
    prompts = [Prompt(encode_prompt(tokenizer, row["messages"][0]["content"]), i) for i, row in enumerate(rows)]
    require_exact_decoding(resident, max(len(prompt.ids) for prompt in prompts) + config.max_new_tokens)
    with Meter("scores", len(prompts), unit="row", quiet=config.quiet) as meter:
        answers = sample(
            resident,
            (),
            prompts,
            draw=Draw(0),
            max_new_tokens=config.max_new_tokens,
            temperature=0.0,
            tick=lambda done: meter.advance(done - meter.done),
        )
    texts = [decode_response(tokenizer, list(a.tokens.response), resident.end_tokens) for a in answers]
    pairs = [(s, float(r["score"])) for s, r in zip(map(parse_score, texts), rows, strict=True) if s is not None]
    written, true = [p[0] for p in pairs], [p[1] for p in pairs]
    return {
        "parse_rate": len(pairs) / len(rows),
        "mae": mean_absolute_error(written, true) if pairs else None,
        "spearman": spearman(written, true) if len(pairs) > 1 else None,
    }


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
