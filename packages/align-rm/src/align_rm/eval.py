"""`align-rm eval`: accuracy and calibration of a reward model on held-out pairs."""

import json

import numpy as np

from align_contracts import open_artifact
from align_contracts.errors import ConfigError
from align_mlx.compute import choose
from align_mlx.reward import load_scorer
from align_rm.algorithms.bradley_terry import pairwise_accuracy
from align_rm.algorithms.calibration import expected_calibration_error
from align_rm.config import EvalConfig
from align_rm.pairs import encode_pairs, score_pairs


def run(config: EvalConfig) -> int:
    """Evaluate a reward model and print the figures."""
    rm = open_artifact(config.rm, kind="reward_model")
    data = open_artifact(config.data, kind="dataset") if config.data else rm.input("dataset")
    compute = choose(config.compute_form, config.compute_dtype)
    scorer = load_scorer(rm, compute=compute, token_budget=config.token_budget)
    pairs = encode_pairs(data.read_jsonl(f"pairs_{config.split}"), scorer.resident, rm.details.max_length)
    if not pairs.kept:
        raise ConfigError(f"no {config.split} pair fits", expected=f"at most {rm.details.max_length} tokens")
    chosen, rejected = score_pairs(scorer, pairs.kept)
    margins = chosen - rejected
    lengths = np.array([len(p.chosen.response) - len(p.rejected.response) for p in pairs.kept])
    figures = {
        "split": config.split,
        "n": len(margins),
        "dropped": sum(pairs.dropped.values()),
        "pairwise_accuracy": pairwise_accuracy(margins),
        "longer_answer_accuracy": pairwise_accuracy(lengths),
        "ece_before": expected_calibration_error(margins),
        "ece_after": expected_calibration_error(margins, rm.details.temperature),
        "temperature": rm.details.temperature,
    }
    if config.json_output:
        print(json.dumps(figures))
        return 0
    before, after, temperature = (figures[k] for k in ("ece_before", "ece_after", "temperature"))
    print(f"{rm.name} on {config.split}: {figures['n']} pairs, {figures['dropped']} dropped")
    print(f"  pairwise accuracy        {figures['pairwise_accuracy']:.3f}")
    print(f"  choose the longer answer {figures['longer_answer_accuracy']:.3f}")
    print(f"  calibration error        {before:.3f} → {after:.3f} at T {temperature:.2f}")
    return 0
