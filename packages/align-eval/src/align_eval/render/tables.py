"""The tables of the report as text cells, for Markdown and PDF alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align_eval.render.text import (
    MISSING,
    duration,
    fixed,
    method,
    number,
    p_value,
    percent,
    plus_minus,
    run_name,
    share,
    size,
    span,
    with_sd,
)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Its heading.
        header: Column names.
        rows: Cells.
        widths: Relative column widths, for the PDF.
        numbers: Columns that are set flush right.
        note: A line below it.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    widths: tuple[float, ...]
    numbers: frozenset[int] = frozenset()
    note: str = ""


def verdicts(report: Json) -> Table:
    """Win, loss and tie together, a run a row, then each method and the A/A row."""
    rows = [(run_name(run["label"]), *_outcomes(run)) for run in report["runs"]]
    rows += [(f"{method(name)}, all seeds", *_outcomes(report["pooled"][name])) for name in report["methods"]]
    if report["aa"]:
        rows.append(("A/A: SFT against SFT", *_outcomes(report["aa"])))
    return Table(
        "Verdicts against SFT",
        ("", "pairs", "win", "loss", "tie", "invalid", "won of decided [95 %]"),
        rows,
        (2.2, 0.8, 0.9, 0.9, 0.9, 0.9, 2.2),
        frozenset(range(1, 7)),
        "win, loss, tie and invalid are shares of all pairs; the interval is Wilson's. The rows over all seeds treat "
        "pairs as independent.",
    )


def _outcomes(row: Json) -> tuple[str, ...]:
    rates = (percent(row[name]) for name in ("win_rate", "loss_rate", "tie_rate", "invalid_rate"))
    return str(row["n"]), *rates, share(row["win_rate_decided"], row["wilson"])


def measures(report: Json) -> Table:
    """KL, perplexity, reward, length, cost and convergence, a run a row, with SFT above."""
    sft = report["sft"]
    rows = [
        (
            "SFT", MISSING, fixed(sft["perplexity_after"]), fixed(sft["reward_mean"]), MISSING,
            fixed(sft["response_length_mean"], 1), MISSING, MISSING, MISSING, MISSING,
        )
    ]  # fmt: skip
    for run in report["runs"]:
        gain = fixed(run["reward_gain"])
        rows.append(
            (
                run_name(run["label"]),
                number(run["kl"]),
                fixed(run["perplexity"]),
                fixed(run["reward_mean"]),
                f"{gain} {span(run['reward_gain_interval'])}".strip(),
                fixed(run["response_length_mean"], 1),
                str(run["selected_iteration"]),
                MISSING if run["convergence_iteration"] is None else str(run["convergence_iteration"]),
                duration(run.get("training_seconds")),
                size(run.get("peak_memory_bytes")),
            )
        )
    header = (
        "", "KL", "perplexity", "reward", "gain over SFT [95 %]", "length", "published", "60 % at", "time", "memory",
    )  # fmt: skip
    note = (
        "KL in nats a response token and perplexity are of the published checkpoint on the validation split; reward "
        "(raw) and length (tokens) are means over the test answers; published and 60 % at are iterations."
    )
    return Table(
        "What each run measured",
        header,
        rows,
        (1.2, 0.9, 1.1, 0.9, 2.2, 0.9, 1.1, 0.9, 1, 1.3),
        frozenset(range(1, 10)),
        note,
    )


def categories(report: Json) -> Table:
    """Each category by run."""
    rows = []
    for run in report["runs"]:
        for name, row in run["categories"].items():
            rows.append((run_name(run["label"]), name, *_outcomes(row)))
    return Table(
        "By category",
        ("", "category", "pairs", "win", "loss", "tie", "invalid", "won of decided [95 %]"),
        rows,
        (1.2, 1.4, 0.8, 0.9, 0.9, 0.9, 0.9, 2.2),
        frozenset(range(2, 8)),
    )


_EFFECTS = {
    "win_rate": ("win rate of all pairs, points", 100.0, 1),
    "win_rate_decided": ("win rate of decided pairs, points", 100.0, 1),
    "reward_mean": ("mean reward", 1.0, 2),
    "reward_gain": ("reward gain over SFT", 1.0, 2),
    "kl": ("KL, nats a token", 1.0, 4),
    "perplexity": ("perplexity", 1.0, 3),
    "response_length_mean": ("response length, tokens", 1.0, 2),
}
"""How each number is called, its factor and its decimals."""


def effects(report: Json) -> Table:
    """Effect sizes between the methods, a number a row."""
    names = [report["effect"]["first"], report["effect"]["second"]] if report["effect"]["metrics"] else []
    heads = [method(name) for name in names]
    rows = []
    for name, found in report["effect"]["metrics"].items():
        label, scale, digits = _EFFECTS[name]
        cells = [report["methods"][m][name] for m in names]
        means = [plus_minus(_scaled(c["value"], scale), _scaled(c["sd"], scale), digits) for c in cells]
        difference = (
            f"{fixed(_scaled(found['difference'], scale), digits)} {span(found['welch_interval'], scale, digits)}"
        )
        d = f"{fixed(found['cohens_d'])} {span(found['interval'])}"
        rows.append((label, *means, difference.strip(), d.strip(), fixed(found["hedges_g"]), p_value(found["welch_p"])))
    return Table(
        f"{heads[0]} − {heads[1]} over seeds" if len(heads) == 2 else "Between methods",
        ("mean ± sd over seeds", *heads, "difference [95 %]", "Cohen's d [95 %]", "Hedges' g", "Welch p"),
        rows,
        (2.2, *([1.4] * len(heads)), 2.2, 1.9, 0.9, 0.8),
        frozenset(range(1, 5 + len(heads))),
    )


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def trade_offs(report: Json) -> Table:
    """The study's expectations beside what was measured."""
    rows = []
    for row in report["trade_offs"]:
        verdict = {"ppo": "PPO ahead", "grpo": "GRPO ahead"}.get(row["verdict"], row["verdict"])
        verdict += f" (p {p_value(row['p'])})" if row["p"] is not None else ""
        expected = {"ppo": "PPO", "grpo": "GRPO"}.get(row["expected_advantage"], row["expected_advantage"])
        agrees = {"yes": "as expected", "no": "not as expected", "open": ""}[row["agrees"]]
        unit = f" ({row['unit']})" if row["unit"] else ""
        rows.append(
            (
                row["metric"] + unit,
                row["expected_ppo"],
                row["expected_grpo"],
                expected,
                with_sd(row["measured_ppo"], row["sd_ppo"]),
                with_sd(row["measured_grpo"], row["sd_grpo"]),
                "; ".join(part for part in (verdict, agrees) if part),
            )
        )
    return Table(
        "Expected trade-offs and what was measured",
        ("", "expected of PPO", "expected of GRPO", "expected ahead", "PPO", "GRPO", "verdict"),
        rows,
        (2.4, 1.9, 1.9, 0.95, 1.5, 1.5, 2.0),
        frozenset({4, 5}),
        "Measured: mean ± sd over seeds. A method counts as ahead when Welch's t-test over seeds (for the variance: "
        "the F-test) gives p < 0.05, or when no seed differs within a method.",
    )


def stages(report: Json) -> Table:
    """SFT and reward model."""
    sft, rm = report["sft"], report["reward_model"]
    merge = "not merged" if sft["merge_kl"] is None else f"KL(merged ‖ base + adapter) {number(sft['merge_kl'])}"
    rows = [
        ("SFT perplexity", f"{fixed(sft['perplexity_before'])} → {fixed(sft['perplexity_after'])}", "3.5 → 2.8"),
        ("SFT form", f"{sft['form']}, {merge}", ""),
        ("RM held-out pairwise accuracy", percent(rm["pairwise_accuracy"]), "≥ 70 %"),
        ("RM expected calibration error", f"{fixed(rm['ece_before'], 3)} → {fixed(rm['ece'], 3)}", "< 0.1"),
        ("RM temperature", fixed(rm["temperature"]), ""),
    ]
    note = "The study's expectations are for Gemma 2B on UltraFeedback."
    return Table("What the runs stand on", ("", "measured", "study's expectation"), rows, (2.2, 2.4, 1.4), note=note)


def certificates(report: Json) -> Table:
    """What SFT, the reward model and each run proved about itself while it was trained."""
    names = {"sft": "SFT", "rm": "Reward model"}
    rows = []
    for entry in report["certificates"]:
        found = entry["certificate"]
        name = names.get(entry["label"]) or run_name(entry["label"])
        if found is None:
            rows.append((name, *[MISSING] * 6, "not recorded"))
            continue
        still = f", {len(found['waiting'])} waiting" if found["verdict"] == "incomplete" else ""
        ratio = (number(found[key], 2) for key in ("first_ratio_error", "ratio_tolerance", "first_ratio_error_max"))
        counts = (str(found[key]) for key in ("tensors", "alive", "live_updates"))
        rows.append((name, *counts, *("0 (exact)" if r == "0" else r for r in ratio), found["verdict"] + still))
    header = (
        "", "trainable tensors", "alive", "live updates", "first |ratio − 1|", "tolerance", "largest", "verdict",
    )  # fmt: skip
    note = (
        "A tensor is alive once it has had a non-zero gradient; a live update has a non-zero learning rate and a batch "
        "that teaches something (in RL: rewards that differ), and the number shown is how many it took until all were "
        "alive. Before an iteration's first update the ratio is 1 but for rounding: shown are the mean over tokens in "
        "the worst iteration, what is tolerated of it, and the largest of one token (20 times that). A run with a "
        "tensor dead after three live updates, or with a ratio off by more, stops and publishes nothing. Incomplete: "
        "the run ended before its third live update with tensors still waiting."
    )
    widths = (1.6, 1.4, 0.8, 1.1, 1.4, 1.0, 1.0, 1.7)
    return Table("Proofs that each run carries", header, rows, widths, frozenset(range(1, 7)), note)


def ledger(report: Json) -> Table:
    """The controlled variables."""
    rows = [
        (entry["name"], entry["value"], "equal" if entry["equal"] else "DIFFERS")
        for entry in report["ledger"]["controlled"]
    ]
    return Table("Ledger: held equal in every run", ("variable", "value", ""), rows, (2.2, 4.4, 0.8))


def varied(report: Json) -> Table:
    """What varies by design, or does not matter."""
    rows = [(entry["name"], entry["value"]) for entry in report["ledger"]["varied"]]
    return Table("Ledger: belongs to one method, or left free", ("variable", "value"), rows, (1.6, 5.0))


def inputs(report: Json) -> Table:
    """The artifacts behind the numbers."""
    rows = [(row["name"], row["role"], row["content_digest"][:16]) for row in report["inputs"]]
    return Table("Inputs", ("artifact", "role", "content digest"), rows, (2.2, 1.6, 1.8))
