"""From the dataset artifact to token rows: training prompts, validation prompts, validation answers."""

from dataclasses import dataclass

from align_contracts import Artifact
from align_contracts.errors import ConfigError
from align_mlx.chat import Tokens, control_tokens, encode_prompt, encode_turn, has_control_tokens
from align_mlx.resident import Resident
from align_mlx.rollout import Prompt, prompt_number, require_exact_decoding
from align_rl.config import RLConfig


@dataclass(frozen=True)
class RLData:
    """What a run reads: prompts to learn on, prompts to be measured on, answers for perplexity.

    Attributes:
        train, validation: prompts within the length limit.
        train_ids, validation_ids: their prompt ids, in order.
        chosen: validation prompts with their chosen answers.
        dropped: how many training prompts, validation prompts and chosen answers were left out, and why.
    """

    train: list[Prompt]
    train_ids: list[str]
    validation: list[Prompt]
    validation_ids: list[str]
    chosen: list[Tokens]
    dropped: dict[str, dict[str, int]]


def load(data: Artifact, resident: Resident, config: RLConfig) -> RLData:
    """Read and encode the splits.

    Raises:
        ConfigError: the base cannot answer in batches, or no training prompt, no validation prompt or no chosen
            answer fits the length limits.
    """
    require_exact_decoding(resident, config.max_seq_length)
    train, train_ids, train_left_out = _prompts(data, "train", resident, config)
    validation, ids, validation_left_out = _prompts(data, "validation", resident, config)
    for split, prompts in (("training", train), ("validation", validation)):
        if not prompts:
            raise ConfigError(
                f"no {split} prompt left",
                expected=f"prompts of at most {config.max_prompt_length} tokens",
                got="0",
            )
    chosen, chosen_left_out = _chosen(data, resident, config)
    dropped = {"train": train_left_out, "validation": validation_left_out, "chosen": chosen_left_out}
    most = config.eval_prompts
    return RLData(train, train_ids, validation[:most], ids[:most], chosen[:most], dropped)


def _prompts(
    data: Artifact, split: str, resident: Resident, config: RLConfig
) -> tuple[list[Prompt], list[str], dict[str, int]]:
    """Give the prompts of a split that fit and hold no control token, their ids, and count the rest."""
    kept: list[Prompt] = []
    ids: list[str] = []
    control, dropped = control_tokens(resident.tokenizer), {"too_long": 0, "special": 0}
    for row in data.read_jsonl(f"prompts_{split}"):
        tokens = encode_prompt(resident.tokenizer, row["prompt"])
        if has_control_tokens(control, row["prompt"]):
            dropped["special"] += 1
        elif len(tokens) > config.max_prompt_length:
            dropped["too_long"] += 1
        else:
            kept.append(Prompt(tokens, prompt_number(row["prompt_id"])))
            ids.append(row["prompt_id"])
    return kept, ids, dropped


def _chosen(data: Artifact, resident: Resident, config: RLConfig) -> tuple[list[Tokens], dict[str, int]]:
    """Give the validation split's chosen answers that fit, say something and hold no control token; count the rest."""
    control = control_tokens(resident.tokenizer)
    turns = [[message["content"] for message in row["messages"]] for row in data.read_jsonl("sft_validation")]
    plain = [turn for turn in turns if not has_control_tokens(control, *turn)]
    rows = [encode_turn(resident.tokenizer, user, answer, resident.end_tokens) for user, answer in plain]
    special = len(turns) - len(plain)
    said = [row for row in rows if not row.empty]
    kept = [row for row in said if len(row) <= config.max_seq_length]
    if not kept:
        raise ConfigError(
            "no chosen answer of the validation split left to measure perplexity on",
            expected=f"prompt and answer of at most {config.max_seq_length} tokens",
            got=f"{len(said)} longer ones, {len(rows) - len(said)} empty ones, {special} with control tokens",
        )
    return kept, {"too_long": len(said) - len(kept), "empty": len(rows) - len(said), "special": special}
