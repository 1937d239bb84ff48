"""The answer first: which method won, by how much, how sure; then the key numbers and what to read with care."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from align_eval.effects import compared
from align_eval.render.document import Block, Paragraph, Section, Tile, Tiles
from align_eval.render.sections import winning
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method, p_value, percent, plural, plus_minus, share, span

Json = Mapping[str, Any]

ALPHA = 0.05


def answer(report: Json, sources: Sources) -> Paragraph:
    """What the study found, in one sentence."""
    keys = sources.all("judgments")
    if all(run["control"] == "null" for run in report["runs"]):
        row = report["pooled"]["all"]
        return Paragraph(
            "A null control: nothing was trained, and the runs won "
            f"{share(row['win_rate_decided'], row['interval'])} of decided pairs against SFT.",
            keys,
        )
    names = compared(list(report["methods"]))
    if len(names) != 2:
        parts = [f"{method(name)} won {_rate(report, name)} of all pairs against SFT" for name in names]
        return Paragraph(f"{' and '.join(parts)}.", keys)
    return Paragraph(_decided(report, *names), keys)


def _decided(report: Json, first: str, second: str) -> str:
    """The sentence about two methods; who is ahead is decided by the primary interval."""
    if not _decided_pairs(report):
        return "Undecided: the judge preferred no answer to SFT's, nor SFT's to it, in any pair of either method."
    rates = [_rate(report, name) for name in (first, second)]
    both = f"{method(first)} wins {rates[0]} of all pairs against SFT and {method(second)} {rates[1]}"
    seeds = " + ".join(str(len(report["methods"][name]["seeds"])) for name in (first, second))
    found, equal = primary(report), report["estimates"].get("equivalence")
    if found is None or found["interval"] is None or found["p"] is None:
        return f"Undecided: {both}, and {seeds} seeds cannot say whether the difference is luck."
    gap, (low, high) = found["value"], found["interval"]
    if found["p"] < ALPHA:
        ahead, behind = (first, second) if gap > 0 else (second, first)
        low, high = (low, high) if gap > 0 else (-high, -low)
        text = f"{both}, {fixed(abs(100 * gap), 1)} points apart over {seeds} seeds {_between(low, high)}"
        return f"{method(ahead)} wins against {method(behind)}: {text}."
    if equal and equal["equivalent"]:
        low, high = equal["interval_90"]
        around = f"90 % interval {fixed(100 * low, 1)} to {fixed(100 * high, 1)}"
        text = f"a difference of {fixed(100 * gap, 1)} points ({around})"
        return f"Equally good within {fixed(100 * equal['margin'], 1)} points: {both}, {text}."
    text = f"a difference of {fixed(100 * gap, 1)} points that {seeds} seeds cannot tell from chance"
    return f"Neither method wins: {both}, {text} {_between(low, high)}."


def _decided_pairs(report: Json) -> int:
    row = report["pooled"]["all"]
    return int(row["wins"] + row["losses"])


def primary(report: Json) -> Json | None:
    """The difference of win rates that decides: for other seeds and other prompts; None without two methods."""
    found: Json | None = (report["estimates"].get("win_rate") or {}).get("difference")
    return found


def caveat(report: Json, sources: Sources) -> Paragraph:
    """What the answer does not show."""
    keys = sources.all("judgments")
    few, design, found = report["small_numbers"], report["design"], primary(report)
    if few is None:
        return Paragraph("Only one method was compared with SFT, so nothing is said about another.", keys, "note")
    seeds = " + ".join(map(str, few["seeds"]))
    if found is None or design is None or found["interval"] is None:
        reason = report["estimates"]["reason"] or "nothing varies between the seeds"
        return Paragraph(f"With {seeds} seeds there is no interval: {reason}.", keys, "note")
    where = f"with {seeds} seeds on {design['prompts']} prompts"
    detectable = design["detectable_difference"]
    missed, seen = "a true difference of any size", "none"
    if detectable is not None:
        needed = f"{fixed(100 * detectable, 1)} points"
        missed, seen = f"a true difference below {needed}", f"only one of {needed}"
    equal = report["estimates"]["equivalence"]
    if found["p"] < ALPHA:
        text = (
            f"Seen {where}, with this judge and this model: {missed} would mostly have been "
            "missed, so one that is found tends to look larger than it is."
        )
    elif equal and equal["equivalent"]:
        text = (
            "Two one-sided tests at the 5 % level show equality within "
            f"{fixed(100 * equal['margin'], 1)} points either way, the margin chosen beforehand, {where}, with this "
            f"judge and this model. The data would show it within {_shown_within(equal)} points; {missed} would "
            "mostly have been missed."
        )
    else:
        most = fixed(100 * max(abs(end) for end in found["interval"]), 1)
        text = (
            "Not finding a difference does not show that there is none: "
            f"{where}, true differences of up to "
            f"{most} points are compatible with the data, and {seen} would be found in four "
            "studies of five."
        )
    return Paragraph(text, keys, "note")


def _shown_within(equal: Json) -> str:
    """The smallest margin, to a tenth of a point, that the 90 % interval lies inside: rounded up, as it has to."""
    points = 100 * max(abs(end) for end in equal["interval_90"])
    return fixed(math.ceil(round(10 * points, 6)) / 10, 1)


def headline(report: Json, sources: Sources) -> Section:
    """Key numbers, findings and warnings."""
    blocks: list[Block] = [Tiles(tiles(report, sources)), *findings(report, sources)]
    blocks += [Paragraph(one["text"], kind="care") for one in report["warnings"]]
    return Section("findings", "Findings", [*blocks, *winning.rates(report)])


def tiles(report: Json, sources: Sources) -> list[Tile]:
    """Key numbers; win rates are shares of all pairs, as the effect size beside them."""
    found = []
    for name, row in report["methods"].items():
        rate = row["win_rate"]
        below = f"of all pairs won against SFT, {plural(len(row['seeds']), 'seed')}"
        value = plus_minus(100 * rate["value"], None if rate["sd"] is None else 100 * rate["sd"]) + " %"
        found.append(Tile(method(name), value, below, name, sources.method(name, "judgments")))
    effect, keys = report["effect"], sources.all("judgments")
    if (gap := primary(report)) is not None:
        name = f"{method(gap['first'])} − {method(gap['second'])}"
        interval = gap["interval"]
        below = f"{span(interval, 100, 1)} points, p {p_value(gap['p'])}" if interval else "no interval: nothing varies"
        found.append(Tile(name, f"{fixed(100 * gap['value'], 1)} points", below, "", keys))
    if effect["cohens_d"] is not None:
        below = f"{span(effect['interval'])}, {effect['band'][0]}"
        found.append(Tile("Cohen's d", fixed(effect["cohens_d"]), below, "", keys))
    better = sum(bool(run["wilson"] and run["wilson"][0] > 0.5) for run in report["runs"])
    below = "their 95 % interval of decided pairs above 50 %"
    found.append(Tile("Runs that beat SFT", f"{better} of {len(report['runs'])}", below, "", keys))
    if aa := report["aa"]:
        below = "SFT against SFT: no pair decided"
        if aa["win_rate_decided"] is not None:
            below = f"{span(aa['interval'], 100, 1)} of decided pairs, SFT against SFT".strip()
        found.append(Tile("A/A row", percent(aa["win_rate_decided"]), below, "sft", sources.aa("judgments")))
    return found


def findings(report: Json, sources: Sources) -> list[Paragraph]:
    """The findings in sentences; each states a number and what it allows one to say.

    Args:
        report: The document of `results.build`.
        sources: Its sources.

    Returns:
        One to five sentences, the most important first.
    """
    keys = sources.all("judgments")
    texts = [_against_sft(report), *_means(report), *_methods(report), *_gap(report), *_effect(report["effect"])]
    found = [Paragraph(text, keys, "finding") for text in texts]
    if report["aa"]:
        found.append(Paragraph(_aa(report["aa"]), sources.aa("judgments"), "finding"))
    return found


def _between(low: float, high: float) -> str:
    return f"(95 % interval {fixed(100 * low, 1)} to {fixed(100 * high, 1)})"


def _rate(report: Json, name: str) -> str:
    return percent(report["methods"][name]["win_rate"]["value"])


def _against_sft(report: Json) -> str:
    runs = report["runs"]
    better = [run for run in runs if run["wilson"] and run["wilson"][0] > 0.5]
    worse = [run for run in runs if run["wilson"] and run["wilson"][1] < 0.5]
    pooled = report["pooled"]["all"]
    beat, lose = (verb if count != 1 else f"{verb}s" for verb, count in (("beat", len(runs)), ("lose", len(worse))))
    text = f"{len(better)} of {plural(len(runs), 'run')} {beat} SFT (95 % interval of decided pairs above 50 %)"
    text += f", {len(worse)} {lose} to it" if worse else ""
    if not _decided_pairs(report):
        return f"{text}: no pair was decided."
    who = "it wins" if len(runs) == 1 else "together they win"
    return f"{text}; {who} {share(pooled['win_rate_decided'], pooled['interval'])} of decided pairs."


def _means(report: Json) -> list[str]:
    """Each method's mean with its spread; where no seed was repeated the answer has said it all."""
    counts = [len(found["seeds"]) for found in report["methods"].values()]
    if max(counts) == 1:
        return []
    parts = []
    for name, found in report["methods"].items():
        rate = found["win_rate"]
        spread = f" ± {fixed(100 * rate['sd'], 1)}" if rate["sd"] is not None else ""
        parts.append(f"{method(name)} wins {fixed(100 * rate['value'], 1)}{spread} % of all pairs")
    seeds = f"{' and '.join(map(str, counts))} seeds" if len(set(counts)) > 1 else plural(max(counts), "seed")
    each = " each" if len(counts) > 1 and len(set(counts)) == 1 else ""
    return [f"Over {seeds}{each}, {' and '.join(parts)} (mean ± sd)."]


def _methods(report: Json) -> list[str]:
    """Whether each method, not only these runs of it, beats SFT: by the primary interval of its preference."""
    found = report["estimates"].get("preference")
    if not found:
        return []
    parts = []
    for name, row in found["methods"].items():
        if row["interval"] is None:
            continue
        low, high = row["interval"]
        verb = "beats SFT" if low > 0.5 else "loses to SFT" if high < 0.5 else "is not separated from SFT"
        parts.append(f"{method(name)} {verb}, preferred in {share(row['value'], row['interval'])} of pairs")
    return [f"For other seeds and other prompts {' and '.join(parts)} (ties counted half)."] if parts else []


def _gap(report: Json) -> list[str]:
    """The difference of the win rates, whether equality is shown, and who beats whom prompt by prompt."""
    found, estimates = primary(report), report["estimates"]
    if found is None or found["interval"] is None:
        return []
    first, second = method(found["first"]), method(found["second"])
    apart = "separated" if found["p"] is not None and found["p"] < ALPHA else "not separated"
    text = (
        f"{first} − {second}: {fixed(100 * found['value'], 1)} points {span(found['interval'], 100, 1)}, "
        f"p = {p_value(found['p'])}, for other seeds and other prompts: {apart}."
    )
    if equal := estimates["equivalence"]:
        shown = "is shown" if equal["equivalent"] else "is not shown"
        margin = f"{fixed(100 * equal['margin'], 1)} points"
        text += f" Equality within {margin} {shown} (two one-sided tests, p = {p_value(equal['p'])})."
    if better := estimates["improvement"]:
        text += (
            f" On a prompt a {first} run beats a {second} run with probability {percent(better['value'])}, equals "
            "counted half."
        )
    return [text]


def _effect(effect: Json) -> list[str]:
    if effect["cohens_d"] is None:  # the caveat says why
        return []
    name, _ = effect["band"]
    return [
        f"Effect size over the seeds: Cohen's d = {fixed(effect['cohens_d'])} {span(effect['interval'])}, {name} by "
        f"Cohen's bands; Hedges' g = {fixed(effect['hedges_g'])}; Welch's t-test on the same prompts gives "
        f"p = {p_value(effect['welch_p'])}."
    ]


def _aa(aa: Json) -> str:
    if aa["win_rate_decided"] is None:
        return f"A/A row: SFT against SFT with other sampling keys, no pair decided, {percent(aa['tie_rate'])} ties."
    return (
        f"A/A row: SFT against SFT with other sampling keys wins {share(aa['win_rate_decided'], aa['interval'])} of "
        f"decided pairs, with {percent(aa['tie_rate'])} ties."
    )
