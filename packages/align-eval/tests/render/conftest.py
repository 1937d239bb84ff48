from __future__ import annotations

from typing import Any

import pytest

from align_contracts import open_artifact
from align_eval.render.build import document
from align_eval.render.document import Document

EMPTY = {
    "frontier": {"rules": {}, "runs": []},
    "overoptimization": {
        "gold": None,
        "reason": "no gold score",
        "forms": {},
        "points": [],
        "fits": [],
        "best_observed": [],
    },
    "length": {"bins": [], "methods": {}, "runs": [], "aa": []},
    "inflation": {"runs": []},
    "ties": {"threshold": 0.3, "alarm": False, "rows": []},
    "categories": [],
    "convergence": {"evaluation": {}, "training": {}, "labels": {}, "reached": []},
    "critic": {"reason": "no critic was trained", "training": None, "runs": []},
    "tokens": {"missing": [], "views": []},
    "samples": [],
}


@pytest.fixture(scope="session")
def report(compared) -> dict[str, Any]:
    return open_artifact(compared / "report").read_json("report")


@pytest.fixture(scope="session")
def made(report) -> Document:
    return document(report)


@pytest.fixture(scope="session")
def sparse(report) -> dict[str, Any]:
    """One method, one seed, unscored answers, nothing decided, no evaluation points, nothing optional."""
    nothing = dict.fromkeys(
        ("win_rate_decided", "wilson", "reward_mean", "reward_gain", "reward_gain_interval", "kl", "perplexity",
         "training_seconds", "peak_memory_bytes", "convergence_iteration", "length_ratio")
    )  # fmt: skip
    runs = [{**report["runs"][0], **nothing, "convergence_reason": "the judge is not offline"}]
    one = {**report["methods"]["ppo"], "seeds": [42]}
    one["win_rate"] = {**one["win_rate"], "sd": None}
    return {
        **report,
        "runs": runs, "methods": {"ppo": one}, "aa": None, "small_numbers": None, "warnings": [],
        "effect": {**dict.fromkeys(report["effect"]), "metrics": {}, "reason": "needs two methods"},
        "diagnostics": EMPTY, "budgets": {}, "sweep": None, "design": None,
        "estimates": {"reason": "one method", "win_rate": None, "equivalence": None},
        "certificates": [one for one in report["certificates"] if one["label"] in ("sft", "rm", runs[0]["label"])],
        "curves": {runs[0]["label"]: {"points": [], "win_rate": [], "targets": []}},
    }  # fmt: skip
