"""The course of training: curves with seed bands, convergence, the critic, and what each run measured in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Figure, Panel, Paragraph, Row, Section, Table
from align_eval.render.plots import xy
from align_eval.render.plots.series import Series, checkpoints, method_legend, run_legend, series
from align_eval.render.plots.xy import Curve, Plot, Spot
from align_eval.render.sources import Sources
from align_eval.render.text import duration, fixed, method, size, span

Json = Mapping[str, Any]

AT_EVALUATION = (
    ("kl", "KL against the reference", "nats a response token"),
    ("reward_mean", "Reward", "raw score, mean"),
    ("gold", "Gold score", "the judge's own score, mean"),
    ("response_length_mean", "Response length", "tokens"),
    ("perplexity", "Perplexity of the chosen answers", "perplexity"),
)
IN_TRAINING = (
    ("entropy", "Entropy of the policy", "nats"),
    ("clip_fraction", "Clipped ratios", "share of tokens"),
    ("grad_norm", "Gradient norm", "before clipping"),
)


def course(report: Json, sources: Sources) -> Section:
    """Curves, convergence and the measures of each run."""
    blocks: list[Block] = [_evaluation(report)]
    found = report["diagnostics"]
    if training := _training(report, found["convergence"]["training"]):
        blocks.append(training)
    blocks += _critic(report, found["critic"])
    blocks += [_measures(report, sources), _convergence(report, sources)]
    lead = (
        "Each run was looked at on the same validation prompts at every evaluation point. The band reaches from the "
        "lowest to the highest seed, the thick line is their mean; a filled point is the checkpoint that was published."
    )
    return Section("training", "Over training", blocks, lead)


def _evaluation(report: Json) -> Figure:
    bands = report["diagnostics"]["convergence"]["evaluation"]
    panels = []
    for key, title, unit in AT_EVALUATION:
        curves = _means(report, bands.get(key, {})) + _runs(report, key)
        if curves:
            steps = _targets(report) if key == "kl" else ()
            plot = Plot("iteration", unit, curves, _chosen(report, key), steps=steps, y_zero=key == "kl")
            panels.append(_panel(title, plot))
    panels.append(_win_rate(report, bands.get("win_rate_decided", {})))
    legend = [*(method_legend(report) if bands else ()), *run_legend(report)]
    caption = "The dashed line in the first plot is the KL target; runs have converged where they first win 60 %."
    return Figure("training", "Convergence", panels, legend, caption)


def _panel(title: str, plot: Plot) -> Panel:
    ends = [f"{c.name} from {fixed(c.points[0][1])} to {fixed(c.points[-1][1])}" for c in plot.curves if c.points]
    return Panel(title, f"{plot.y} over {plot.x}: {'; '.join(ends) or plot.missing}.", partial(xy.draw, plot))


def _means(report: Json, bands: Json) -> list[Curve]:
    found = []
    for name in report["methods"]:
        if band := bands.get(name):
            at = band["iteration"]
            mean = tuple(zip(at, band["mean"], strict=True))
            edges = tuple(zip(at, band["low"], band["high"], strict=True))
            found.append(Curve(f"{method(name)}, mean", mean, name, f"mean-{name}", width=2.4, band=edges))
    return found


def _runs(report: Json, key: str) -> list[Curve]:
    found = []
    for one in series(report):
        known = tuple((p["iteration"], p[key]) for p in checkpoints(report, one.label) if p.get(key) is not None)
        if known:
            found.append(_thin(one, known))
    return found


def _thin(one: Series, points: tuple[tuple[float, float], ...]) -> Curve:
    """A single run, under the mean of its method."""
    return Curve(one.name, points, one.tone, one.label, one.dash, 1.1, 0.65, 1.8)


def _chosen(report: Json, key: str) -> list[Spot]:
    found = []
    for one in series(report):
        for point in checkpoints(report, one.label):
            if point.get("selected") and point.get(key) is not None:
                name = f"{one.name}, published"
                found.append(Spot(name, point["iteration"], point[key], one.tone, one.label))
    return found


def _targets(report: Json) -> Sequence[tuple[float, float]]:
    """The KL target as steps; runs share it, otherwise the ledger would have refused them."""
    return [(start, target) for start, target in report["curves"][report["runs"][0]["label"]]["targets"]]


def _win_rate(report: Json, bands: Json) -> Panel:
    curves = _means(report, bands)
    for one in series(report):
        rows = report["curves"][one.label]["win_rate"]
        known = tuple((r["iteration"], r["win_rate_decided"]) for r in rows if r["win_rate_decided"] is not None)
        if known:
            curves.append(_thin(one, known))
    missing = report["runs"][0]["convergence_reason"] or "no evaluation points"
    rules = ((0.6, "60 %: converged"), (0.5, "50 %"))
    plot = Plot("iteration", "share of decided pairs", curves, rules=rules, y_percent=True, missing=missing)
    return _panel("Won against iteration 0", plot)


def _training(report: Json, bands: Json) -> Figure | None:
    panels = []
    for key, title, unit in IN_TRAINING:
        if curves := _means(report, bands.get(key, {})):
            panels.append(_panel(title, Plot("iteration", unit, curves, y_zero=True)))
    caption = "From the training rollouts; means over windows of iterations, with the range of the seeds."
    return Figure("optimizer", "Inside the updates", panels, method_legend(report), caption) if panels else None


def _critic(report: Json, critic: Json) -> list[Block]:
    if critic["reason"]:
        return [Paragraph(f"Critic: {critic['reason']}.", kind="note")]
    panels = []
    if critic["training"] and critic["training"].get("iteration"):
        curves = _means(report, {"ppo": critic["training"]})
        plot = Plot("iteration", "explained variance", curves, rules=((0.0, "no better than a constant"),))
        panels.append(_panel("On the training rollouts", plot))
    curves = []
    styles = {one.label: one for one in series(report)}
    for run in critic["runs"]:
        one = styles[run["label"]]
        known = tuple(
            (p["iteration"], p["explained_variance"]) for p in run["points"] if p.get("explained_variance") is not None
        )
        curves.append(_thin(one, known))
    plot = Plot("iteration", "explained variance", curves, rules=((0.0, "no better than a constant"),))
    panels.append(_panel("On the validation prompts", plot))
    legend = [one for one in (*method_legend(report), *run_legend(report)) if one.tone == "ppo"]
    return [Figure("critic", "What PPO's critic explains of the returns", panels, legend)]


def _measures(report: Json, sources: Sources) -> Table:
    sft = report["sft"]
    base, answers = sources.role("sft policy"), sources.role("baseline responses")
    dash = Cell(fixed(None))
    length, reward = cells.fixed(sft["response_length_mean"], answers, 1), cells.fixed(sft["reward_mean"], answers)
    perplexity = cells.fixed(sft["perplexity_after"], base)
    first = (Cell("SFT", tone="sft"), dash, perplexity, reward, dash, length, dash, dash, dash)
    rows = [Row(first)]
    for run in report["runs"]:
        policy, answered = (sources.run(run["label"], role) for role in ("policy", "responses"))
        gain = f"{fixed(run['reward_gain'])} {span(run['reward_gain_interval'])}".strip()
        seconds, memory = run.get("training_seconds"), run.get("peak_memory_bytes")
        rows.append(
            Row(
                (
                    cells.run(run),
                    cells.number(run["kl"], policy),
                    cells.fixed(run["perplexity"], policy),
                    cells.fixed(run["reward_mean"], answered),
                    Cell(gain, run["reward_gain"], answered),
                    cells.fixed(run["response_length_mean"], answered, 1),
                    cells.count(run["selected_iteration"], policy),
                    Cell(duration(seconds), seconds, policy),
                    Cell(size(memory), memory, policy),
                )
            )
        )
    note = (
        "KL in nats a response token and perplexity are of the published checkpoint on the validation split; reward "
        "(raw) and length (tokens) are means over the test answers; published is the iteration of the checkpoint."
    )
    numbers = ("KL", "perplexity", "reward", "gain over SFT [95 %]", "length", "published", "time", "peak memory")
    return Table("What each run measured", cells.columns(("run",), *numbers), rows, note)


def _convergence(report: Json, sources: Sources) -> Table:
    rows = []
    for run in report["runs"]:
        keys = sources.run(run["label"], "policy")
        reached, stable = run["convergence_iteration"], run["stability"]
        actions = run["controller_actions"]
        rows.append(
            Row(
                (
                    cells.run(run),
                    cells.count(reached, keys),
                    cells.number(stable["reward_mean_sd"], keys),
                    cells.number(stable["kl_sd"], keys),
                    cells.count(actions, keys),
                    cells.plain(run["convergence_reason"] or ""),
                )
            )
        )
    numbers = ("60 % reached at", "sd of reward", "sd of KL", "controller acted")
    columns = (*cells.columns(("run",), *numbers), *cells.columns(("remark",)))
    note = "Standard deviations are over the iterations of training; acted counts iterations of the KL controller."
    return Table("Convergence and stability", columns, rows, note)
