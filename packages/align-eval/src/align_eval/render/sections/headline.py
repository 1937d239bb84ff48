"""The answer first: which method won, by how much, how sure; then the key numbers and what to read with care."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.effects import compared
from align_eval.render.document import Block, Paragraph, Section, Tile, Tiles
from align_eval.render.sections.winning import rates
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method, p_value, percent, plural, plus_minus, share, span

Json = Mapping[str, Any]


def answer(report: Json, sources: Sources) -> Paragraph:
    """What the study found, in one sentence."""
    keys = sources.all("judgments")
    if all(run["control"] == "null" for run in report["runs"]):
        row = report["pooled"]["all"]
        return Paragraph(
            f"A null control: nothing was trained, and the runs won {share(row['win_rate_decided'], row['wilson'])} of "
            "decided pairs against SFT.",
            keys,
        )
    names = compared(list(report["methods"]))
    if len(names) != 2:
        parts = [f"{method(name)} won {_rate(report, name)} of all pairs against SFT" for name in names]
        return Paragraph(f"{' and '.join(parts)}.", keys)
    effect = report["effect"]
    first, second = names
    one, two = _rate(report, first), _rate(report, second)
    both = f"{method(first)} beats SFT in {one} of all pairs and {method(second)} in {two}"
    seeds = " + ".join(str(len(report["methods"][name]["seeds"])) for name in names)
    gap, interval = effect["difference"], effect["welch_interval"]
    if effect["welch_p"] is None or interval is None:
        return Paragraph(f"Undecided: {both}, and {seeds} seeds cannot say whether the difference is luck.", keys)
    if effect["welch_p"] < 0.05:
        ahead, behind, sign = (first, second, 1.0) if gap > 0 else (second, first, -1.0)
        low, high = sorted((sign * interval[0], sign * interval[1]))
        text = f"{both}, {fixed(abs(100 * gap), 1)} points apart over {seeds} seeds {_between(low, high)}"
        return Paragraph(f"{method(ahead)} wins against {method(behind)}: {text}.", keys)
    text = f"a difference of {fixed(100 * gap, 1)} points that {seeds} seeds cannot tell from chance"
    return Paragraph(f"Neither method wins: {both}, {text} {_between(*interval)}.", keys)


def caveat(report: Json, sources: Sources) -> Paragraph:
    """What the answer does not show."""
    keys = sources.all("judgments")
    few = report["small_numbers"]
    if few is None:
        return Paragraph("Only one method was compared with SFT, so nothing is said about another.", keys, "note")
    seeds = " + ".join(map(str, few["seeds"]))
    effect = report["effect"]
    if few["detectable_d"] is None or effect["welch_interval"] is None:
        return Paragraph(
            f"There are {seeds} seeds, and without spread between seeds there is no interval.", keys, "note"
        )
    needed = fixed(few["detectable_d"], 1)
    if effect["welch_p"] is not None and effect["welch_p"] < 0.05:
        text = (
            f"Seen with {seeds} seeds, on this judge, these prompts and this model: a true difference of less than "
            f"{needed} standard deviations between seeds would mostly have been missed, so one that is found tends to "
            "look larger than it is."
        )
    else:
        most = fixed(100 * max(abs(end) for end in effect["welch_interval"]), 1)
        text = (
            f"That does not show that they are equal: with {seeds} seeds a true difference of up to {most} points is "
            f"compatible with the data, and one of {needed} standard deviations between seeds is needed to be found in "
            "four studies of five."
        )
    return Paragraph(text, keys, "note")


def headline(report: Json, sources: Sources) -> Section:
    """Key numbers, findings and warnings."""
    blocks: list[Block] = [Tiles(tiles(report, sources)), *findings(report, sources)]
    blocks += [Paragraph(one["text"], kind="care") for one in report["warnings"]]
    return Section("findings", "Findings", [*blocks, rates(report)])


def tiles(report: Json, sources: Sources) -> list[Tile]:
    """Key numbers; win rates are shares of all pairs, as the effect size beside them."""
    found = []
    for name, row in report["methods"].items():
        rate = row["win_rate"]
        below = f"of all pairs won against SFT, {plural(len(row['seeds']), 'seed')}"
        value = plus_minus(100 * rate["value"], None if rate["sd"] is None else 100 * rate["sd"]) + " %"
        found.append(Tile(method(name), value, below, name, sources.method(name, "judgments")))
    effect, keys = report["effect"], sources.all("judgments")
    if effect["cohens_d"] is not None:
        name = f"{method(effect['first'])} − {method(effect['second'])}"
        below = f"{span(effect['welch_interval'], 100, 1)} points, Welch p {p_value(effect['welch_p'])}"
        found.append(Tile(name, f"{fixed(100 * effect['difference'], 1)} points", below, "", keys))
        below = f"{span(effect['interval'])}, {effect['band'][0]}"
        found.append(Tile("Cohen's d", fixed(effect["cohens_d"]), below, "", keys))
    better = sum(bool(run["wilson"] and run["wilson"][0] > 0.5) for run in report["runs"])
    below = "their interval of decided pairs lies above 50 %"
    found.append(Tile("Runs that beat SFT", f"{better} of {len(report['runs'])}", below, "", keys))
    if aa := report["aa"]:
        below = f"{span(aa['wilson'], 100, 1)} of decided pairs, SFT against SFT".strip()
        found.append(Tile("A/A row", percent(aa["win_rate_decided"]), below, "sft", sources.aa("judgments")))
    return found


def findings(report: Json, sources: Sources) -> list[Paragraph]:
    """The findings in sentences; each states a number and what it allows one to say.

    Args:
        report: The document of `results.build`.
        sources: Its sources.

    Returns:
        Two to five sentences, the most important first.
    """
    keys = sources.all("judgments")
    found = [(_against_sft(report), keys), (_means(report), keys), (_effect(report["effect"]), keys)]
    found += [(_aa(report["aa"]), sources.aa("judgments"))] if report["aa"] else []
    return [Paragraph(text, where, "finding") for text, where in found]


def _between(low: float, high: float) -> str:
    return f"(95 % interval {fixed(100 * low, 1)} to {fixed(100 * high, 1)})"


def _rate(report: Json, name: str) -> str:
    return percent(report["methods"][name]["win_rate"]["value"])


def _against_sft(report: Json) -> str:
    runs = report["runs"]
    better = [run for run in runs if run["wilson"] and run["wilson"][0] > 0.5]
    worse = [run for run in runs if run["wilson"] and run["wilson"][1] < 0.5]
    pooled = report["pooled"]["all"]
    text = f"{len(better)} of {plural(len(runs), 'run')} beat SFT (95 % interval of decided pairs above 50 %)"
    text += f", {len(worse)} lose to it" if worse else ""
    together = f"together they win {share(pooled['win_rate_decided'], pooled['wilson'])} of decided pairs"
    by_prompt = pooled["by_prompt"]
    wider = f" ({span(by_prompt, 100, 1)} with prompts as the unit)" if by_prompt else ""
    return f"{text}; {together}{wider}."


def _means(report: Json) -> str:
    parts = []
    for name, found in report["methods"].items():
        rate = found["win_rate"]
        spread = f" ± {fixed(100 * rate['sd'], 1)}" if rate["sd"] is not None else ""
        parts.append(f"{method(name)} wins {fixed(100 * rate['value'], 1)}{spread} % of all pairs")
    counts = [len(found["seeds"]) for found in report["methods"].values()]
    seeds = f"{' and '.join(map(str, counts))} seeds" if len(set(counts)) > 1 else plural(max(counts), "seed")
    each = " each" if len(counts) > 1 and len(set(counts)) == 1 else ""
    spread = " (mean ± sd)" if max(counts) > 1 else ""
    return f"Over {seeds}{each}, {' and '.join(parts)}{spread}."


def _effect(effect: Json) -> str:
    if effect["cohens_d"] is None:
        return f"No effect size between the methods: {effect['reason']}."
    name, worth = effect["band"]
    first, second = method(effect["first"]), method(effect["second"])
    apart = "separated" if effect["welch_p"] is not None and effect["welch_p"] < 0.05 else "not separated"
    return (
        f"{first} − {second}: Cohen's d = {fixed(effect['cohens_d'])} {span(effect['interval'])}, {name} ({worth}); "
        f"Hedges' g = {fixed(effect['hedges_g'])}; difference {fixed(100 * effect['difference'], 1)} points "
        f"{span(effect['welch_interval'], 100, 1)}, Welch p = {p_value(effect['welch_p'])}: {apart} by these seeds."
    )


def _aa(aa: Json) -> str:
    return (
        f"A/A row: SFT against SFT with other sampling keys wins {share(aa['win_rate_decided'], aa['wilson'])} of "
        f"decided pairs, with {percent(aa['tie_rate'])} ties."
    )
