"""``align-eval compare``: prove the comparison is controlled, compute its numbers, write the report."""

from __future__ import annotations

from collections.abc import Sequence

from align_contracts import Artifact, publish
from align_eval import controlled, results
from align_eval.config import CompareConfig
from align_eval.render.findings import findings
from align_eval.study import Study, open_study
from align_eval.sweeps import Sweep, open_sweeps


def run(config: CompareConfig) -> int:
    """Compare and publish a report artifact.

    Args:
        config: The settings.

    Returns:
        0.

    Raises:
        VerificationError: A controlled variable differs between the runs and `allow_mismatch` is off.
        AlignError: As opening the artifacts raises it.
    """
    study = open_study(config.judgments)
    book = controlled.build(study)
    if not config.allow_mismatch:
        book.require()
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
        # Drawing needs matplotlib, which is slow to import: only now that everything is proved.
        from align_eval.render.charts import draw_png
        from align_eval.render.markdown import FIGURES, markdown
        from align_eval.render.pdf import draw_pdf

        draft.write_json("results.json", results.without_clock(report), role="results")
        draft.write_json("report.json", report, role="report", volatile=True)
        draft.write_text("report.md", markdown(report), role="markdown", volatile=True)
        for name in FIGURES:
            draw_png(name, report, draft.file(f"figures/{name}.png", role=f"figure_{name}", volatile=True))
        draw_pdf(report, draft.file("report.pdf", role="pdf", volatile=True))
        draft.seeds = sorted({one.seed for one in study.runs})
        methods = {method: [one.seed for one in study.of(method)] for method in study.methods}
        draft.details = {"runs": len(study.runs), "methods": methods}
    if not config.quiet:
        print(book.varies())
        print("\n".join([*findings(report), *(f"Care: {one['text']}" for one in report["warnings"])]))
        print(f"Report: {config.out / 'report.pdf'}")
    return 0


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
