"""Reward against KL: every checkpoint, what each rule would have published, the proxy beside the gold score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Figure, Legend, Panel, Paragraph, Row, Section, Table
from align_eval.render.plots import xy
from align_eval.render.plots.series import checkpoints, run_legend, series
from align_eval.render.plots.xy import Curve, Plot, Spot
from align_eval.render.sections.strengths import strengths
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method

Json = Mapping[str, Any]

ROOT = "√KL (KL in nats a response token)"


def frontier(report: Json, sources: Sources) -> Section:
    """Frontier, selection rules, over-optimisation, adapter strength."""
    found = report["diagnostics"]
    blocks: list[Block] = [_figure(report)]
    blocks.append(_choices(found["frontier"], sources))
    blocks += _overoptimization(report, found["overoptimization"], sources)
    blocks += strengths(report, sources)
    lead = (
        "How much reward a method buys with how much distance from SFT: at the same KL, higher is better. A point is "
        "an evaluation point, a line a run; the star is the checkpoint that was published."
    )
    return Section("frontier", "Reward and KL", blocks, lead)


def _figure(report: Json) -> Figure:
    panels = [_panel(report, "reward_mean", "Reward over √KL", "reward (raw score) on validation prompts")]
    if _has(report, "gold"):
        panels.append(_panel(report, "gold", "Gold score over √KL", "the judge's own score on validation prompts"))
    return Figure("frontier", "Reward–KL frontier", panels, run_legend(report))


def _has(report: Json, key: str) -> bool:
    return any(p.get(key) is not None for run in report["runs"] for p in checkpoints(report, run["label"]))


def _panel(report: Json, key: str, title: str, unit: str) -> Panel:
    curves, spots, said = [], [], []
    for one in series(report):
        known = [p for p in checkpoints(report, one.label) if p.get("kl") is not None and p.get(key) is not None]
        places = tuple((max(0.0, p["kl"]) ** 0.5, p[key]) for p in known)
        curves.append(Curve(one.name, places, one.tone, one.label, one.dash, 1.1, 0.6, 3.0))
        for (x, y), point in zip(places, known, strict=True):
            if point["selected"]:
                name = f"{one.name}, iteration {point['iteration']}, published"
                spots.append(Spot(name, x, y, one.tone, one.label, "star", 5.5))
                said.append(f"{one.name} published {fixed(y)} at {fixed(x)}")
    plot = Plot(ROOT, unit, curves, spots)
    return Panel(title, f"{unit} against √KL. {'; '.join(said) or plot.missing}.", partial(xy.draw, plot))


def _choices(found: Json, sources: Sources) -> Table:
    rows = []
    for run in found["runs"]:
        keys = sources.run(run["label"], "policy")
        for choice in run["choices"]:
            mark = "yes" if choice["rule"] == run["rule"] else ""
            gate = {True: "passed", False: "not passed", None: ""}[choice["gate_passed"]]
            rows.append(
                Row(
                    (
                        cells.run(run),
                        cells.plain(found["rules"].get(choice["rule"], choice["rule"])),
                        cells.count(choice["iteration"], keys),
                        cells.number(choice["kl"], keys),
                        cells.fixed(choice["reward_mean"], keys),
                        cells.fixed(choice["perplexity"], keys),
                        cells.fixed(choice.get("gold"), keys),
                        cells.percent(choice.get("win_rate_decided"), keys),
                        cells.plain(gate),
                        cells.plain(mark, "good" if mark else ""),
                    ),
                    strong=bool(mark),
                )
            )
    numbers = ("iteration", "KL", "reward", "perplexity", "gold", "won of decided")
    columns = (*cells.columns(("run", "rule"), *numbers), *cells.columns(("KL gate", "published")))
    return Table("What each selection rule would have published", columns, rows)


def _overoptimization(report: Json, found: Json, sources: Sources) -> list[Block]:
    if not found["points"]:
        return [Paragraph(f"Proxy against gold: {found['reason']}.", kind="note")]
    panels = [_gain(report, found, of) for of in ("proxy", "gold")]
    legend = [*run_legend(report)]
    legend += [Legend(f"fit-{m}", f"{method(m)}, fitted", m, (), "thick") for m in report["methods"]]
    caption = (
        f"Gain is the value less that of iteration 0. Gold: the judge {found['gold']}. "
        "Curves are least-squares fits of "
        "d(α − β d)."
    )
    blocks: list[Block] = [Figure("overoptimization", "Proxy reward against gold score", panels, legend, caption)]
    rows = []
    for fit in found["fits"]:
        peak = fit.get("peak") or {}
        keys = sources.all("policy") if fit["method"] == "all" else sources.method(fit["method"], "policy")
        who = Cell("all runs") if fit["method"] == "all" else cells.method(fit["method"])
        # The formula is one word: it does not break.
        form = cells.plain(found["forms"].get(fit["form"], fit["form"]).replace(" ", "\u00a0"))
        numbers = (
            cells.count(fit["n"], keys),
            cells.fixed(fit["alpha"], keys),
            cells.estimate(fit["beta"], fit["beta_interval"], keys),
            cells.number(fit["rmse"], keys),
            cells.number(peak.get("root_kl"), keys),
        )
        reached = {True: "within the data", False: "beyond the data", None: "no peak"}[peak.get("reached")]
        rows.append(Row((who, cells.plain(fit["of"]), form, *numbers, cells.plain(reached))))
    columns = cells.columns(("runs", "score", "form"), "points", "α", "β [95 %]", "error", "knee at √KL")
    cautions = dict.fromkeys(fit["caution"] for fit in found["fits"] if fit.get("caution"))
    note = " ".join(["The knee is where a fitted curve turns down.", *cautions])
    blocks.append(Table("Over-optimisation", (*columns, *cells.columns(("knee",))), rows, note))
    return [*blocks, _gone_too_far(report, found["best_observed"], sources)]


def _gone_too_far(report: Json, found: Sequence[Json], sources: Sources) -> Table:
    rows = []
    for run in found:
        keys = sources.run(run["label"], "policy")
        far = run["over_optimised"]
        rows.append(
            Row(
                (
                    cells.run(run),
                    cells.count(run["iteration"], keys),
                    cells.fixed(run["gold"], keys, 3),
                    cells.fixed(run["last_gold"], keys, 3),
                    cells.estimate(run["gold_change_after"], run["gold_change_interval"], keys, 1.0, 3),
                    cells.fixed(run["proxy_change_after"], keys),
                    cells.plain("yes" if far else "no", "bad" if far else "good"),
                )
            )
        )
    numbers = (
        "best in gold at",
        "gold score",
        "gold at the end",
        "change of gold after [95 %]",
        "change of proxy after",
    )
    columns = (*cells.columns(("run",), *numbers), *cells.columns(("gone too far",)))
    note = (
        "The best checkpoint is chosen on every other validation prompt, and what training past it changed is "
        "measured on the rest: the best of several noisy numbers looks better than it is."
    )
    return Table("Did a run go too far?", columns, rows, note)


def _gain(report: Json, found: Json, of: str) -> Panel:
    curves = []
    for fit in found["fits"]:
        if fit["of"] == of and fit["form"] == "bon" and fit["method"] in report["methods"] and fit["curve"]:
            points = tuple((x, y) for x, y in fit["curve"])
            name = f"{method(fit['method'])}, fitted"
            curves.append(Curve(name, points, fit["method"], f"fit-{fit['method']}", width=2.2))
    for one in series(report):
        rows = [p for p in found["points"] if p["label"] == one.label and p.get(f"{of}_gain") is not None]
        places = tuple((p["root_kl"], p[f"{of}_gain"]) for p in rows)
        curves.append(Curve(one.name, places, one.tone, one.label, width=0, r=3.2))
    title = {"proxy": "Proxy: the reward model that trained", "gold": "Gold: what it stands for"}[of]
    plot = Plot(ROOT, f"gain in {of} score", curves, rules=((0.0, ""),), y_zero=True)
    last = [f"{c.name} ends at {fixed(c.points[-1][1])}" for c in curves if c.points]
    return Panel(title, f"Gain in {of} score against √KL: {'; '.join(last)}.", partial(xy.draw, plot))
