"""What a reader must know of each policy before using it: what it was made from, how, and under which licence."""

from __future__ import annotations

from typing import Any

from align_contracts import Artifact
from align_contracts.canonical import to_json
from align_eval.study import Run, Study

Json = dict[str, Any]


def policies(study: Study) -> dict[str, Json]:
    """Facts of every trained policy, from the manifests alone.

    Args:
        study: The runs.

    Returns:
        By label {name, digest, method, seed, form, selection, config, base, data, sft, reward_model,
        environment}; a licence is null where the manifest has none.
    """
    return {run.label: _policy(run, study) for run in study.runs}


def _policy(run: Run, study: Study) -> Json:
    details, base = run.policy.details, run.policy.input("base")
    return {
        "name": run.policy.name,
        "digest": run.policy.content_digest,
        "method": run.method,
        "seed": run.seed,
        "control": run.control,
        "form": details.form,
        "selection": to_json(details.selection),
        "config": dict(run.policy.manifest.config),
        "base": {
            **_named(base),
            **{name: to_json(getattr(base.details, name)) for name in _BASE},
        },
        "data": {**_named(study.dataset), **{name: to_json(getattr(study.dataset.details, name)) for name in _DATA}},
        "sft": _named(study.sft),
        "reward_model": _named(study.reward_model),
        "environment": to_json(run.policy.manifest.environment),
    }


_BASE = ("architecture", "source", "parameters", "quantization", "license")
_DATA = ("source", "revision", "license", "counts")


def _named(artifact: Artifact) -> Json:
    return {"name": artifact.name, "digest": artifact.content_digest}
