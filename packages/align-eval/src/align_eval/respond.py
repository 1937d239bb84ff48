"""`align-eval respond`: one policy answers one split of prompts, and the reward model scores the answers."""

import hashlib
from typing import Any

import mlx.core as mx

from align_contracts import Artifact, open_artifact, publish
from align_contracts.errors import ConfigError
from align_contracts.space import jsonl_bytes, require_space
from align_eval.config import RespondConfig
from align_mlx.chat import decode_response, encode_prompt
from align_mlx.compute import choose
from align_mlx.loading import load_policy
from align_mlx.progress import Meter
from align_mlx.resident import Resident
from align_mlx.reward import load_scorer
from align_mlx.rollout import Draw, Prompt, prompt_number, require_exact_decoding, sample

TOKEN_BYTES = 24
"""Of a token of an answer in JSON: its id and its part of the text."""


def run(config: RespondConfig) -> int:
    """Sample an answer to every prompt of the split and publish them as a responses artifact.

    The random draws depend on the sampling seed and on the policy's content digest, so that two policies never
    share their luck, and a policy that did not learn is still compared with fresh answers.

    Raises:
        ConfigError: the split has no prompt, a prompt is longer than the limit, the model cannot answer in batches, or
            policy and reward model do not share a tokenizer.
    """
    policy, data = open_artifact(config.policy, kind="policy"), open_artifact(config.data, kind="dataset")
    rm = open_artifact(config.rm, kind="reward_model") if config.rm else None
    if rm is not None:
        require_one_tokenizer(policy, rm)
    inputs = {"policy": policy, "dataset": data, **({"reward_model": rm} if rm else {})}
    if policy.details.form == "residual":
        inputs = {"base": policy.input("base"), **inputs}
    with publish(
        config.out, "responses", producer="align-eval", config=config, inputs=inputs, overwrite=config.overwrite
    ) as draft:
        compute = choose(config.compute_form, config.compute_dtype)
        resident = load_policy(policy, compute)
        require_exact_decoding(resident, config.max_prompt_length + config.max_new_tokens)
        rows = data.read_jsonl(f"prompts_{config.split}")
        if not rows:
            raise ConfigError(f"the {config.split} split of {data.name} has no prompts", do="choose another --split")
        require_space(config.out, parts(rows, config))
        prompts = encode(rows, resident, config)
        with Meter(f"responses of {policy.name}", len(prompts), unit="prompt", quiet=config.quiet) as meter:
            answers = sample(
                resident,
                (),
                prompts,
                draw=Draw(draw_seed(policy, config.sampling_seed)),
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                max_rows=config.rollout_rows,
                tick=lambda done: meter.advance(done - meter.done),
            )
        tokenizer, ends = resident.tokenizer, resident.end_tokens
        del resident  # the reward model may need another base: never two in memory
        mx.clear_cache()
        rewards = load_scorer(rm, compute=compute).score([a.tokens for a in answers]) if rm else [None] * len(rows)
        written = [
            {
                "prompt_id": row["prompt_id"],
                "prompt": row["prompt"],
                "category": row["category"],
                "response": decode_response(tokenizer, list(a.tokens.response), ends),
                "tokens": list(a.tokens.response),
                "length": len(a.tokens.response),
                "truncated": a.truncated,
                "reward": None if reward is None else round(float(reward), 6),
            }
            for row, a, reward in zip(rows, answers, rewards, strict=True)
        ]
        draft.write_jsonl("responses.jsonl", written, role="responses")
        found = means(written)
        for name, value in found.items():
            draft.metric(name, value, n=len(written))
        draft.summary = f"{len(written)} answers of {found['response_length_mean']:.1f} tokens on average"
        draft.seeds = [config.sampling_seed]
        draft.details = {
            "policy_method": policy.details.method,
            "seed": policy.details.seed,
            "prompts": len(written),
            "split": config.split,
            "temperature": config.temperature,
            "top_p": 1.0,
            "max_new_tokens": config.max_new_tokens,
            "sampling_seed": config.sampling_seed,
            "scored": rm is not None,
        }
    return 0


def parts(rows: list[dict[str, Any]], config: RespondConfig) -> dict[str, int]:
    """Give the bytes of what is written at most, by what they are for."""
    return {"the prompts": jsonl_bytes(rows), "the answers": len(rows) * config.max_new_tokens * TOKEN_BYTES}


def encode(rows: list[dict[str, Any]], resident: Resident, config: RespondConfig) -> list[Prompt]:
    """Encode the prompts; refuse one that is too long rather than answer another question."""
    prompts = []
    for row in rows:
        ids = encode_prompt(resident.tokenizer, row["prompt"])
        if len(ids) > config.max_prompt_length:
            raise ConfigError(
                f"prompt {row['prompt_id']} is too long",
                expected=f"at most {config.max_prompt_length} tokens",
                got=str(len(ids)),
                do="raise --max-prompt-length",
            )
        prompts.append(Prompt(ids, prompt_number(row["prompt_id"])))
    return prompts


def require_one_tokenizer(policy: Artifact, rm: Artifact) -> None:
    """Raise ConfigError where the policy's token ids would mean something else to the reward model."""
    ours, theirs = (
        artifact.manifest.tokenizer_digest or artifact.input("base").manifest.tokenizer_digest
        for artifact in (policy, rm)
    )
    if ours and theirs and ours != theirs:
        raise ConfigError(
            f"{policy.name} and the reward model {rm.name} have different tokenizers",
            expected=ours,
            got=theirs,
            do="pass a reward model on the policy's own base",
        )


def draw_seed(policy: Artifact, sampling_seed: int) -> int:
    """Mix the sampling seed with the policy's identity: 63 bits of a sha256."""
    text = f"{sampling_seed}:{policy.content_digest}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean length, share of truncated answers, and mean reward where the answers are scored."""
    count = len(rows)
    result = {
        "response_length_mean": sum(r["length"] for r in rows) / count,
        "truncated_rate": sum(r["truncated"] for r in rows) / count,
    }
    if rows[0]["reward"] is not None:
        result["reward_mean"] = sum(r["reward"] for r in rows) / count
    return result
