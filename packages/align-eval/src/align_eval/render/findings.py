"""The findings in sentences; each states a number and what it allows one to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render.text import fixed, method, p_value, percent, plural, share, span

Json = Mapping[str, Any]


def findings(report: Json) -> list[str]:
    """Sum up a report.

    Args:
        report: The document of `results.build`.

    Returns:
        Two to six sentences, the most important first.
    """
    found = [_against_sft(report), *_means(report), _effect(report["effect"]), _aa(report["aa"])]
    return [sentence for sentence in found if sentence]


def _against_sft(report: Json) -> str:
    runs = report["runs"]
    better = [run for run in runs if run["wilson"] and run["wilson"][0] > 0.5]
    worse = [run for run in runs if run["wilson"] and run["wilson"][1] < 0.5]
    pooled = report["pooled"]["all"]
    text = f"{len(better)} of {len(runs)} runs beat SFT (95 % interval of decided pairs above 50 %)"
    text += f", {len(worse)} lose to it" if worse else ""
    together = f"together they win {share(pooled['win_rate_decided'], pooled['wilson'])} of decided pairs"
    by_prompt = pooled["by_prompt"]
    wider = f" ({span(by_prompt, 100, 1)} with prompts as the unit)" if by_prompt else ""
    return f"{text}; {together}{wider}."


def _means(report: Json) -> list[str]:
    parts = []
    for name, found in report["methods"].items():
        rate = found["win_rate"]
        spread = f" ± {fixed(100 * rate['sd'], 1)}" if rate["sd"] is not None else ""
        parts.append(f"{method(name)} wins {fixed(100 * rate['value'], 1)}{spread} % of all pairs")
    counts = [len(found["seeds"]) for found in report["methods"].values()]
    seeds = f"{' and '.join(map(str, counts))} seeds" if len(set(counts)) > 1 else plural(max(counts), "seed")
    each = " each" if len(counts) > 1 and len(set(counts)) == 1 else ""
    spread = " (mean ± sd)" if max(counts) > 1 else ""
    return [f"Over {seeds}{each}, {' and '.join(parts)}{spread}."]


def _effect(effect: Json) -> str:
    if effect["cohens_d"] is None:
        return f"No effect size between the methods: {effect['reason']}."
    name, _ = effect["band"]
    first, second = method(effect["first"]), method(effect["second"])
    apart = "separated" if effect["welch_p"] is not None and effect["welch_p"] < 0.05 else "not separated"
    return (
        f"{first} − {second}: Cohen's d = {fixed(effect['cohens_d'])} {span(effect['interval'])} ({name}), Hedges' "
        f"g = {fixed(effect['hedges_g'])}; difference {fixed(100 * effect['difference'], 1)} points "
        f"{span(effect['welch_interval'], 100, 1)}, Welch p = {p_value(effect['welch_p'])}: {apart} by these seeds."
    )


def _aa(aa: Json | None) -> str:
    if aa is None:
        return ""
    return (
        f"A/A row: SFT against SFT with other sampling keys wins {share(aa['win_rate_decided'], aa['wilson'])} of "
        f"decided pairs, with {percent(aa['tie_rate'])} ties."
    )
