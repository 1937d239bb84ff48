"""`align-eval sweep`: a trained policy at several strengths of its adapter: its reward–KL frontier without retraining.

LoRA adds ``scale · A B`` to the weights; at strength c it adds c times that, so 0 is the reference policy and 1 the
policy as trained. Between them KL grows about with c², and the reward shows what each nat of distance bought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align_contracts import Artifact, open_artifact, publish
from align_contracts.errors import ConfigError
from align_eval.algorithms.mean import mean_interval
from align_eval.algorithms.ratio import ratio_of_sums
from align_eval.config import SweepConfig
from align_eval.gold import reference_gold
from align_eval.respond import require_one_tokenizer
from align_mlx.adapters import Adapter
from align_mlx.batching import by_length, pad
from align_mlx.chat import Tokens, control_tokens, decode_response, encode_prompt, has_control_tokens
from align_mlx.compute import choose
from align_mlx.loading import load_base, policy_adapters
from align_mlx.logprobs import response_kl
from align_mlx.prefix import states
from align_mlx.progress import Meter
from align_mlx.resident import Resident
from align_mlx.reward import load_scorer
from align_mlx.rollout import Answer, Draw, Prompt, prompt_number, require_exact_decoding, sample

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """The prompts of a sweep, encoded, and how many were left out: too long, or with a control token in their text."""

    rows: list[Row]
    prompts: list[Prompt]
    dropped: dict[str, int]


def run(config: SweepConfig) -> int:
    """Answer the same prompts at each strength, measure KL and reward, and publish them.

    Every strength and every policy draws with the same random numbers: at strength 0 all policies of a study give
    the same answers, and what differs further on is theirs.

    Raises:
        ConfigError: the policy is no adapter on a reference, no prompt is left, or tokenizers differ.
    """
    policy, data = open_artifact(config.policy, kind="policy"), open_artifact(config.data, kind="dataset")
    rm = open_artifact(config.rm, kind="reward_model")
    gold = open_artifact(config.gold, kind="reward_model") if config.gold else None
    require_trained(policy)
    for model in filter(None, (rm, gold)):
        require_one_tokenizer(policy, model)
    inputs = {"base": policy.input("base"), "policy": policy, "dataset": data, "reward_model": rm}
    inputs |= {"gold": gold} if gold else {}
    with publish(
        config.out, "responses", producer="align-eval", config=config, inputs=inputs, overwrite=config.overwrite
    ) as draft:
        compute = choose(config.compute_form, config.compute_dtype)
        *below, last = policy_adapters(policy)
        resident = load_base(policy.input("base").path, compute)
        for adapter in below:
            resident.share(adapter)
        require_exact_decoding(resident, config.max_prompt_length + config.max_new_tokens)
        asked = encode(data, resident, config)
        written: list[Row] = []
        turns: list[Tokens] = []
        label, total = f"sweep of {policy.name}", len(config.strengths) * len(asked.prompts)
        with Meter(label, total, unit="answer", quiet=config.quiet) as meter:
            for strength in config.strengths:
                worn = (last.scaled(strength),) if strength else ()
                answers = _sample(resident, worn, asked.prompts, config)
                nats = kl_of_answers(resident, worn, [a.tokens for a in answers], config)
                written += _rows(strength, asked.rows, answers, nats, resident)
                turns += [a.tokens for a in answers]
                meter.advance(len(answers))
        judge = score(written, turns, asked.rows, {"reward": rm, "gold": gold}, policy, resident, config)
        draft.write_jsonl("answers.jsonl", written, role="sweep_answers")
        points = [point(strength, written) for strength in config.strengths]
        draft.write_json("sweep.json", {"gold": judge, "points": points}, role="sweep")
        draft.extensions["dropped"] = asked.dropped
        draft.seeds = [config.sampling_seed]
        draft.details = {
            "policy_method": policy.details.method,
            "seed": policy.details.seed,
            "prompts": len(asked.prompts),
            "split": config.split,
            "temperature": config.temperature,
            "top_p": 1.0,
            "max_new_tokens": config.max_new_tokens,
            "sampling_seed": config.sampling_seed,
            "scored": True,
        }
    return 0


def require_trained(policy: Artifact) -> None:
    """Raise ConfigError where there is no adapter over a reference whose strength could be changed."""
    if policy.details.form != "residual" or policy.details.method == "sft" or len(policy.details.adapters) < 2:
        raise ConfigError(
            f"{policy.name} is no adapter over a reference policy",
            expected="a PPO or GRPO policy of form residual",
            got=f"method {policy.details.method}, form {policy.details.form}",
            do="pass the policy as align-rl published it",
        )


def encode(data: Artifact, resident: Resident, config: SweepConfig) -> Asked:
    """Encode the first prompts of the split that RL's evaluation would ask: within the limit, no control token in them.

    Raises:
        ConfigError: none is left.
    """
    rows: list[Row] = []
    prompts: list[Prompt] = []
    control, dropped = control_tokens(resident.tokenizer), {"too_long": 0, "special": 0}
    for row in data.read_jsonl(f"prompts_{config.split}"):
        if len(prompts) == config.eval_prompts:
            break
        ids = encode_prompt(resident.tokenizer, row["prompt"])
        if has_control_tokens(control, row["prompt"]):
            dropped["special"] += 1
        elif len(ids) > config.max_prompt_length:
            dropped["too_long"] += 1
        else:
            rows.append(row)
            prompts.append(Prompt(ids, prompt_number(row["prompt_id"])))
    if not prompts:
        raise ConfigError(
            f"no prompt of the {config.split} split is left",
            expected=f"prompts of at most {config.max_prompt_length} tokens",
            got=f"{dropped['too_long']} longer ones, {dropped['special']} with control tokens",
            do="choose another --split, or raise --max-prompt-length",
        )
    return Asked(rows, prompts, dropped)


def kl_of_answers(
    resident: Resident, worn: Sequence[Adapter], rows: Sequence[Tokens], config: SweepConfig
) -> np.ndarray:
    """Give the exact KL(policy ‖ reference) of each answer: summed over its tokens, in nats, fp64 [N].

    It is teacher-forced: at each token of the answer, over the whole vocabulary, at the sampling temperature. Without
    an adapter it is 0.
    """
    nats_N = np.zeros(len(rows))
    if not worn:
        return nats_N
    for group in by_length(rows, config.token_budget):
        batch = pad([rows[i] for i in group])
        policy_BSD, reference_BSD = (states(resident, batch, adapters) for adapters in (worn, ()))
        kl_BT = response_kl(resident, policy_BSD, reference_BSD, batch, temperature=config.temperature)
        nats_N[group] = np.array(kl_BT.sum(axis=1))
    return nats_N


def score(
    rows: Sequence[Row],
    turns: Sequence[Tokens],
    asked: Sequence[Row],
    models: Mapping[str, Artifact | None],
    policy: Artifact,
    resident: Resident,
    config: SweepConfig,
) -> str | None:
    """Give every answer its raw reward and its gold score; say where the latter comes from.

    A reward model that was trained on this policy's reference is worn over the model in memory; another is loaded.

    Args:
        rows: Answers of all strengths, in the order of `turns`; `reward` and `gold` are set.
        turns: The same in ids.
        asked: Rows of the prompts, whose reference checks give the gold score where no gold model is given.
        models: Reward models by the name of the number that they give.
        policy: The policy that answered.
        resident: Its base and reference.
        config: The settings.

    Returns:
        ``reward-model``, ``reference``, or None where nothing gave a gold score.
    """
    reference = policy.input("policy").content_digest
    for name, rm in models.items():
        if rm is not None:
            shares = rm.details.backbone == "policy" and rm.input("policy").content_digest == reference
            base = resident if shares else None
            scorer = load_scorer(rm, base, resident.compute, token_budget=config.token_budget)
            for row, value in zip(rows, scorer.score(turns), strict=True):
                row[name] = round(float(value), 6)
    if models["gold"] is not None:
        return "reward-model"
    checks = reference_gold(asked)
    known = [row for row in rows if row["prompt_id"] in checks.prompts]
    for row, value in zip(known, checks.score([(r["prompt_id"], r["response"]) for r in known]), strict=True):
        row["gold"] = round(value, 6)
    return checks.name


def point(strength: float, rows: Sequence[Row]) -> Row:
    """Sum up the answers of one strength.

    Args:
        strength: Which.
        rows: Answers of all strengths.

    Returns:
        {strength, n, kl (nats a response token), kl_se, reward_mean, reward_se, gold, gold_se, response_length_mean,
        truncated_rate}; gold is null where nothing scored it. Standard errors take the prompt as the unit.
    """
    own = [row for row in rows if row["strength"] == strength]
    kl, error = ratio_of_sums([row["kl"] for row in own], [row["length"] for row in own])
    found = {"strength": strength, "n": len(own), "kl": kl, "kl_se": error}
    for name, values in (("reward", [row["reward"] for row in own]), ("gold", [row["gold"] for row in own])):
        mean = None if None in values else mean_interval(values)
        key = "reward_mean" if name == "reward" else name
        found[key] = mean.value if mean else None
        found[f"{name}_se"] = mean.sd / len(own) ** 0.5 if mean and mean.sd is not None else None
    found["response_length_mean"] = float(np.mean([row["length"] for row in own]))
    found["truncated_rate"] = float(np.mean([row["truncated"] for row in own]))
    return found


def _sample(resident: Resident, worn: Sequence[Adapter], prompts: list[Prompt], config: SweepConfig) -> list[Answer]:
    return sample(
        resident,
        worn,
        prompts,
        draw=Draw(config.sampling_seed),
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        max_rows=config.rollout_rows,
    )


def _rows(
    strength: float, asked: Sequence[Row], answers: Sequence[Answer], nats_N: np.ndarray, resident: Resident
) -> list[Row]:
    return [
        {
            "strength": strength,
            "prompt_id": row["prompt_id"],
            "response": decode_response(resident.tokenizer, list(a.tokens.response), resident.end_tokens),
            "tokens": list(a.tokens.response),
            "length": len(a.tokens.response),
            "truncated": a.truncated,
            "kl": round(float(kl), 6),
            "reward": None,
            "gold": None,
        }
        for row, a, kl in zip(asked, answers, nats_N, strict=True)
    ]
