"""From the setting ``--judge`` to a judge."""

from __future__ import annotations

from align_eval.config import JudgeConfig
from align_eval.judges.base import Judge
from align_eval.judges.reference import ReferenceJudge


def make_judge(config: JudgeConfig) -> Judge:
    """Make the judge that a config names; an API client or MLX is imported only when it is used.

    Args:
        config: The judging settings, with a validated `judge`.

    Returns:
        The judge.

    Raises:
        AlignError: The reward model cannot be opened, or the endpoint's settings are wrong.
    """
    kind, _, model = config.judge.partition(":")
    if config.reward_model is not None and kind == "reward-model":
        from align_eval.judges.reward_model import RewardModelJudge

        return RewardModelJudge(config.reward_model)
    if kind == "openai":
        from align_eval.judges.openai import OpenAIJudge

        return OpenAIJudge(model, config)
    return ReferenceJudge()
