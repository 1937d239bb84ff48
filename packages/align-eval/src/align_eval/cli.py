"""The console script ``align-eval``."""

from __future__ import annotations

from align_contracts import console
from align_contracts.console import Command
from align_eval.config import (
    CompareConfig,
    ImportConfig,
    JudgeConfig,
    PlanConfig,
    RespondConfig,
    SummarizeConfig,
    SweepConfig,
)

COMMANDS = (
    Command(
        "respond",
        "Let one policy answer the held-out prompts, with the same sampling for every policy.",
        RespondConfig,
        "align_eval.respond:run",
        sections=("respond",),
        examples=(
            "align-eval respond --policy run/ppo-42 --data run/data --rm run/rm --out run/responses-ppo-42",
            "align-eval respond --policy run/sft --data run/data --sampling-seed 1 --out run/responses-sft-aa",
        ),
    ),
    Command(
        "judge",
        "Judge a candidate's answers against the SFT policy's, each pair in both orders.",
        JudgeConfig,
        "align_eval.judge:run",
        sections=("judge",),
        examples=(
            "align-eval judge --candidate run/responses-ppo-42 --baseline run/responses-sft --out run/judgments-ppo-42",
            "align-eval judge --judge openai:gpt-4o-mini --max-cost-usd 2 --candidate run/responses-ppo-42 "
            "--baseline run/responses-sft --out run/judgments-ppo-42",
        ),
    ),
    Command(
        "import",
        "Import published verdicts, AlpacaEval's annotations, as a judgments artifact.",
        ImportConfig,
        "align_eval.importing:run",
        examples=("align-eval import alpaca-eval annotations.json.gz --out imported/my-model",),
    ),
    Command(
        "summarize",
        "Print win rate, standard error and length-controlled win rate of judgments.",
        SummarizeConfig,
        "align_eval.summarize:run",
        examples=(
            "align-eval summarize run/judgments-ppo-42 --json",
            "align-eval summarize imported/my-model imported/my-model-verbose",
        ),
    ),
    Command(
        "sweep",
        "Measure reward and KL of one policy at several strengths of its adapter: its frontier without retraining.",
        SweepConfig,
        "align_eval.sweep:run",
        sections=("sweep",),
        examples=("align-eval sweep --policy run/ppo-42 --rm run/rm --data run/data --out run/sweep-ppo-42",),
    ),
    Command(
        "compare",
        "Prove that only the method and the seed differ between the runs, then write the comparison report.",
        CompareConfig,
        "align_eval.compare:run",
        sections=("compare",),
        examples=(
            "align-eval compare --judgments run/judgments-ppo-42,run/judgments-grpo-42 --out run/report",
            "align-eval compare --ppo-logs run/ppo-42/train.jsonl --grpo-logs run/grpo-42/train.jsonl "
            "--metrics win_rate_vs_sft kl_divergence perplexity training_time vram_peak "
            "--output comparison_report.pdf",
        ),
    ),
    Command(
        "plan",
        "Say how many seeds and prompts find a wanted difference, and what a design can detect.",
        PlanConfig,
        "align_eval.plan:run",
        examples=(
            "align-eval plan --effect 0.05 --seeds 3 --prompts 300 --tie-rate 0.15",
            "align-eval plan --effect 0.05 --report run/report",
        ),
    ),
)


def main() -> int:
    """Run the script and return its exit code."""
    return console.main("align-eval", "Responses, judgments and the comparison report.", COMMANDS)
