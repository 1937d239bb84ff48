"""From the dataset artifact to token rows: training prompts, validation prompts, validation answers."""

from dataclasses import dataclass

from align_contracts import Artifact
from align_contracts.errors import ConfigError
from align_mlx.chat import Tokens, encode_prompt, encode_turn
from align_mlx.resident import Resident
from align_mlx.rollout import Prompt, prompt_number, require_exact_decoding
from align_rl.config import RLConfig


@dataclass(frozen=True)
class RLData:
    """What a run reads: prompts to learn on, prompts to be measured on, answers for perplexity.

    Attributes:
        train, validation: prompts within the length limit.
        validation_ids: their prompt ids, in order.
        chosen: validation prompts with their chosen answers.
        dropped: how many training prompts, validation prompts and chosen answers were left out, and why.
    """

    train: list[Prompt]
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
    train, _, long_train = _prompts(data, "train", resident, config)
    validation, ids, long_validation = _prompts(data, "validation", resident, config)
    for split, prompts in (("training", train), ("validation", validation)):
        if not prompts:
            raise ConfigError(
                f"no {split} prompt left",
                expected=f"prompts of at most {config.max_prompt_length} tokens",
                got="0",
            )
    chosen, left_out = _chosen(data, resident, config)
    dropped = {"train": {"too_long": long_train}, "validation": {"too_long": long_validation}, "chosen": left_out}
    most = config.eval_prompts
    return RLData(train, validation[:most], ids[:most], chosen[:most], dropped)


def _prompts(data: Artifact, split: str, resident: Resident, config: RLConfig) -> tuple[list[Prompt], list[str], int]:
    """Give the prompts of a split that fit, their ids, and how many are too long."""
    kept: list[Prompt] = []
    ids: list[str] = []
    rows = data.read_jsonl(f"prompts_{split}")
    for row in rows:
        tokens = encode_prompt(resident.tokenizer, row["prompt"])
        if len(tokens) <= config.max_prompt_length:
            kept.append(Prompt(tokens, prompt_number(row["prompt_id"])))
            ids.append(row["prompt_id"])
    return kept, ids, len(rows) - len(kept)


def _chosen(data: Artifact, resident: Resident, config: RLConfig) -> tuple[list[Tokens], dict[str, int]]:
    """Give the chosen answers of the validation split that fit and say something, and how many do not."""
    turns = [[message["content"] for message in row["messages"]] for row in data.read_jsonl("sft_validation")]
    rows = [encode_turn(resident.tokenizer, user, answer, resident.end_tokens) for user, answer in turns]
    said = [row for row in rows if not row.empty]
    kept = [row for row in said if len(row) <= config.max_seq_length]
    if not kept:
        raise ConfigError(
            "no chosen answer of the validation split left to measure perplexity on",
            expected=f"prompt and answer of at most {config.max_seq_length} tokens",
            got=f"{len(said)} longer ones, {len(rows) - len(said)} empty ones",
        )
    return kept, {"too_long": len(said) - len(kept), "empty": len(rows) - len(said)}
