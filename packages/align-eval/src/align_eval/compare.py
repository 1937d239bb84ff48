"""``align-eval compare``: prove the comparison is controlled, compute its numbers, write the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from align_contracts import Artifact, Draft, publish
from align_contracts.durable import disk_errors
from align_contracts.errors import PreflightError
from align_contracts.paths import MANIFEST
from align_contracts.space import require_space
from align_eval import controlled, results
from align_eval.config import CompareConfig
from align_eval.logs import judgments_of
from align_eval.study import Study, open_study, require_same_prompts
from align_eval.sweeps import Sweep, open_sweeps

METRICS = {
    "win_rate_vs_sft": "win_rate",
    "loss_rate": "loss_rate",
    "tie_rate": "tie_rate",
    "kl_divergence": "kl",
    "perplexity": "perplexity",
    "reward": "reward_mean",
    "response_length": "response_length_mean",
    "convergence_iteration": "convergence_iteration",
    "training_time": "training_seconds",
    "vram_peak": "peak_memory_bytes",
}
"""What `--metrics` calls the numbers of a method."""
SCALES = {"training_time": (3600.0, " h"), "vram_peak": (2.0**30, " GiB")}
"""Units in which they are printed, where those of the report would be hard to read."""

REPORT_BYTES = 2 * 2**20
"""Of a report without runs, generously: page, PDF and pictures."""
RUN_BYTES = 200 * 2**10
"""What a run adds to it: its curves, its card."""


def run(config: CompareConfig) -> int:
    """Compare and publish a report artifact.

    Args:
        config: The settings.

    Returns:
        0.

    Raises:
        VerificationError: A controlled variable differs between the runs and `allow_mismatch` is off, or they answer
            different prompts.
        AlignError: As opening the artifacts raises it.
    """
    require_copy(config)
    logs = (*judgments_of(config.ppo_logs, "ppo"), *judgments_of(config.grpo_logs, "grpo"))
    study = open_study((*config.judgments, *logs))
    book = controlled.build(study)
    if not config.allow_mismatch:
        book.require()
    require_same_prompts(study)
    sweeps = open_sweeps(config.sweeps, study)
    report = results.build(
        study,
        book,
        sweeps,
        allow_mismatch=config.allow_mismatch,
        gold_prompts=config.gold_prompts,
        equivalence_margin=config.equivalence_margin,
    )
    with publish(
        config.out,
        "report",
        producer="align-eval",
        config=config,
        inputs=inputs(study, sweeps),
        overwrite=config.overwrite,
    ) as draft:
        require_space(config.out, parts(len(study.runs)))
        write(draft, report)
        draft.seeds = sorted({one.seed for one in study.runs})
        methods = {method: [one.seed for one in study.of(method)] for method in study.methods}
        draft.details = {"runs": len(study.runs), "methods": methods}
    if config.pdf is not None:
        with disk_errors(config.pdf):
            shutil.copyfile(config.out / "report.pdf", config.pdf)
    tell(config, book.varies(), report)
    return 0


def parts(runs: int) -> dict[str, int]:
    """Give the bytes of what is written, by what they are for."""
    return {"numbers, page, PDF and pictures": REPORT_BYTES + runs * RUN_BYTES}


def require_copy(config: CompareConfig) -> None:
    """Raise before any work where the copy of the PDF would replace a file, or cannot be written."""
    if config.pdf is None:
        return
    if config.pdf.exists() and not config.overwrite:
        raise PreflightError(f"{config.pdf} is there already", do="Choose another name, or --overwrite")
    if config.out == config.pdf.with_suffix("") and (config.out / MANIFEST).exists() and not config.overwrite:
        raise PreflightError(
            f"{config.out} exists, and the report of --out {config.pdf} would be published there, beside its PDF",
            do="Choose another name, or replace it with --overwrite",
        )
    if not config.pdf.absolute().parent.is_dir():
        raise PreflightError(f"there is no directory {config.pdf.parent} for the PDF", do="Make it")


def tell(config: CompareConfig, varies: str, report: Mapping[str, Any]) -> None:
    """Print what the settings ask for: one JSON object, or what varied, the answer and the chosen metrics."""
    if config.as_json:
        wanted = {name: METRICS[name] for name in config.metrics}
        methods = {
            method: {name: found[key] for name, key in wanted.items()} if wanted else found
            for method, found in report["methods"].items()
        }
        print(json.dumps({"report": str(config.out), "methods": methods}, indent=2, ensure_ascii=False))
    elif not config.quiet:
        print(varies)
        print("\n".join((*spoken(report), *chosen(config.metrics, report["methods"]))))
        print(f"Report: {config.out / 'report.html'}")


def chosen(metrics: Sequence[str], methods: Mapping[str, Any]) -> list[str]:
    """Give a line for each metric: every method's mean over its seeds, their standard deviation and number."""
    return [
        f"{name}: "
        + "; ".join(f"{method} {_mean(found[METRICS[name]], SCALES.get(name))}" for method, found in methods.items())
        for name in metrics
    ]


def _mean(found: Mapping[str, Any], scale: tuple[float, str] | None) -> str:
    if found["value"] is None:
        return "—"
    factor, unit = scale or (1.0, "")
    spread = "" if found["sd"] is None else f" ± {found['sd'] / factor:.4g}"
    return f"{found['value'] / factor:.4g}{spread}{unit} (n = {found['n']})"


def write(draft: Draft, report: Mapping[str, Any]) -> None:
    """Write the numbers, the report in its three forms, its pictures, and a model card a policy.

    Args:
        draft: The report artifact in the making.
        report: The document of `results.build`.
    """
    # Drawing needs matplotlib, which is slow to import: only now that everything is proved.
    from align_eval.render.build import document
    from align_eval.render.card import card
    from align_eval.render.html import page
    from align_eval.render.markdown import markdown, pictures
    from align_eval.render.pdf import draw_pdf

    draft.write_json("results.json", results.without_clock(report), role="results")
    draft.write_json("report.json", report, role="report", volatile=True)
    made = document(report)
    draft.write_text("report.html", page(made), role="html", volatile=True)
    draft.write_text("report.md", markdown(made), role="markdown", volatile=True)
    for name, picture in pictures(made).items():
        draft.write_text(f"figures/{name}.svg", picture, role=f"figure_{name}", volatile=True)
    for label in report["policies"]:
        draft.write_text(f"cards/{label}.md", card(report, label), role=f"card_{label}", volatile=True)
    draw_pdf(made, draft.file("report.pdf", role="pdf", volatile=True))


def spoken(report: Mapping[str, Any]) -> list[str]:
    """What is printed at the end: the answer, the findings, the warnings."""
    from align_eval.render.sections.headline import answer, caveat, findings
    from align_eval.render.sources import Sources

    sources = Sources(report)
    said = [answer(report, sources), caveat(report, sources), *findings(report, sources)]
    return [*(one.text for one in said), *(f"Care: {one['text']}" for one in report["warnings"])]


def inputs(study: Study, sweeps: Sequence[Sweep] = ()) -> dict[str, Artifact | Sequence[Artifact]]:
    """What the report was made from, by role."""
    everyone = (*study.runs, *study.aa)
    return {
        "judgments": [one.judgments for one in everyone],
        "policy": [one.policy for one in study.runs],
        "reward_model": study.reward_model,
        "sft": study.sft,
        "dataset": study.dataset,
        **({"sweep": [one.artifact for one in sweeps]} if sweeps else {}),
    }
