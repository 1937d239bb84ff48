"""What the runs stand on: SFT, the reward model, and what each training proved about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Cell, Row, Section, Table
from align_eval.render.sources import Sources
from align_eval.render.text import MISSING, fixed, number, percent

Json = Mapping[str, Any]


def basis(report: Json, sources: Sources) -> Section:
    """SFT, reward model, certificates."""
    return Section("basis", "What the runs stand on", [_stages(report, sources), certificates(report, sources)])


def _stages(report: Json, sources: Sources) -> Table:
    sft, rm = report["sft"], report["reward_model"]
    one, two = sources.role("sft policy"), sources.role("reward model")
    merge = "not merged" if sft["merge_kl"] is None else f"KL(merged ‖ base + adapter) {number(sft['merge_kl'])}"
    change = f"{fixed(sft['perplexity_before'])} → {fixed(sft['perplexity_after'])}"
    error = f"{fixed(rm['ece_before'], 3)} → {fixed(rm['ece'], 3)}"
    rows = [
        ("SFT perplexity, before and after", Cell(change, None, one), "3.5 → 2.8"),
        ("SFT form", Cell(f"{sft['form']}, {merge}", None, one), ""),
        ("reward model: held-out pairs ranked right", Cell(percent(rm["pairwise_accuracy"]), None, two), "≥ 70 %"),
        ("reward model: expected calibration error, before and after", Cell(error, None, two), "< 0.1"),
        ("reward model: temperature", Cell(fixed(rm["temperature"]), None, two), ""),
    ]
    note = "The study's expectations are for Gemma 2B on UltraFeedback."
    filled = [Row((cells.plain(name), found, cells.plain(wanted))) for name, found, wanted in rows]
    return Table("SFT and the reward model", cells.columns(("number", "measured", "study's expectation")), filled, note)


def certificates(report: Json, sources: Sources) -> Table:
    """What SFT, the reward model and each run proved about itself while it was trained."""
    methods = {run["label"]: run for run in report["runs"]}
    rows = []
    for entry in report["certificates"]:
        found, label = entry["certificate"], entry["label"]
        stage = {"sft": ("SFT", "sft policy"), "rm": ("Reward model", "reward model")}.get(label)
        name = cells.plain(stage[0]) if stage else cells.run(methods[label])
        keys = sources.role(stage[1]) if stage else sources.run(label, "policy")
        if found is None:
            rows.append(Row((name, *[Cell(MISSING)] * 6, cells.plain("not recorded"))))
            continue
        still = f", {len(found['waiting'])} waiting" if found["verdict"] == "incomplete" else ""
        counts = (cells.count(found[key], keys) for key in ("tensors", "alive", "live_updates"))
        ratios = (_ratio(found[key], keys) for key in ("first_ratio_error", "ratio_tolerance", "first_ratio_error_max"))
        tone = "good" if found["verdict"] == "complete" else "open"
        rows.append(Row((name, *counts, *ratios, cells.plain(found["verdict"] + still, tone))))
    numbers = ("trainable tensors", "alive", "live updates", "first |ratio − 1|", "tolerance", "largest")
    note = (
        "A tensor is alive once it has had a non-zero gradient; a live update has a non-zero learning rate and a batch "
        "that teaches something (in RL: rewards that differ), and the number shown is how many it took until all were "
        "alive. Before an iteration's first update the ratio is 1 but for rounding: shown are the mean over tokens in "
        "the worst iteration, what is tolerated of it, and the largest of one token (20 times that). A run with a "
        "tensor dead after three live updates, or with a ratio off by more, stops and publishes nothing. Incomplete: "
        "the run ended before its third live update with tensors still waiting."
    )
    columns = (*cells.columns(("training",), *numbers), *cells.columns(("verdict",)))
    return Table("Proofs that each training carries", columns, rows, note)


def _ratio(value: float | None, keys: tuple[str, ...]) -> Cell:
    return Cell("0 (exact)" if value == 0 else number(value, 2), value, keys if value is not None else ())
