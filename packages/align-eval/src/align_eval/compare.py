"""``align-eval compare``: prove the comparison is controlled, compute its numbers, write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_contracts import Artifact, Draft, publish
from align_eval import controlled, results
from align_eval.config import CompareConfig
from align_eval.study import Study, open_study, require_same_prompts
from align_eval.sweeps import Sweep, open_sweeps


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
    study = open_study(config.judgments)
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
        write(draft, report)
        draft.seeds = sorted({one.seed for one in study.runs})
        methods = {method: [one.seed for one in study.of(method)] for method in study.methods}
        draft.details = {"runs": len(study.runs), "methods": methods}
    if not config.quiet:
        print(book.varies())
        print("\n".join(spoken(report)))
        print(f"Report: {config.out / 'report.html'}")
    return 0


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
