"""From the dataset artifact to token rows: training prompts, validation prompts, validation answers."""

from dataclasses import dataclass

from align_contracts import Artifact
from align_contracts.errors import ConfigError
from align_mlx.chat import Tokens, encode_prompt, encode_turn
from align_mlx.resident import Resident
from align_mlx.rollout import Prompt, prompt_number
from align_rl.config import RLConfig


@dataclass(frozen=True)
class RLData:
    """What a run reads: prompts to learn on, prompts to be measured on, answers for perplexity.

    Attributes:
        train, validation: prompts within the length limit.
        validation_ids: their prompt ids, in order.
        chosen: validation prompts with their chosen answers.
        dropped: how many training prompts were too long.
    """

    train: list[Prompt]
    validation: list[Prompt]
    validation_ids: list[str]
    chosen: list[Tokens]
    dropped: int


def load(data: Artifact, resident: Resident, config: RLConfig) -> RLData:
    """Read and encode the splits.

    Raises:
        ConfigError: no training prompt, no validation prompt or no chosen answer fits the length limits.
    """
    train, _, dropped = _prompts(data, "train", resident, config)
    validation, ids, _ = _prompts(data, "validation", resident, config, most=config.eval_prompts)
    for split, prompts in (("training", train), ("validation", validation)):
        if not prompts:
            raise ConfigError(
                f"no {split} prompt left",
                expected=f"prompts of at most {config.max_prompt_length} tokens",
                got="0",
            )
    tokenizer, ends = resident.tokenizer, resident.end_tokens
    turns = [row["messages"] for row in data.read_jsonl("sft_validation")]
    rows = [encode_turn(tokenizer, m[0]["content"], m[1]["content"], ends) for m in turns]
    chosen = [row for row in rows if len(row) <= config.max_seq_length][: config.eval_prompts]
    if not chosen:
        raise ConfigError(
            "no chosen answer of the validation split left to measure perplexity on",
            expected=f"prompt and answer of at most {config.max_seq_length} tokens",
            got=f"{len(rows)} longer ones",
        )
    return RLData(train, validation, ids, chosen, dropped)


def _prompts(
    data: Artifact, split: str, resident: Resident, config: RLConfig, most: int | None = None
) -> tuple[list[Prompt], list[str], int]:
    kept: list[Prompt] = []
    ids: list[str] = []
    dropped = 0
    for row in data.read_jsonl(f"prompts_{split}"):
        tokens = encode_prompt(resident.tokenizer, row["prompt"])
        if len(tokens) > config.max_prompt_length:
            dropped += 1
        elif most is None or len(kept) < most:
            kept.append(Prompt(tokens, prompt_number(row["prompt_id"])))
            ids.append(row["prompt_id"])
    return kept, ids, dropped
