"""The reward model: where the score is read, the Bradley-Terry loss, the calibration."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_mlx/reward.py",
        "test_reward_model.py",
        (
            "score-before-the-last-token",
            "lengths_B[:, None, None]",
            "lengths_B[:, None, None] - 1",
            "the end token is not seen",
        ),
        (
            "score-of-the-padding",
            "response_lengths_B[:, None, None]",
            "mx.full((states_BSD.shape[0], 1, 1), states_BSD.shape[1] - 1)",
            "short answers are scored by what padding gives",
        ),
        (
            "padding-pooled",
            "last_BD.astype(mx.float32)",
            "states_BSD.mean(axis=1)",
            "the score is of the mean over tokens and padding",
        ),
        (
            "scores-by-length",
            "scores[group] =",
            "scores[sorted(group)] =",
            "rewards go to other answers than they were given for",
        ),
        (
            "calibration-not-centred",
            "(raw - self.mean) / self.std",
            "raw / self.std",
            "a typical answer has a reward",
        ),
        (
            "calibration-by-variance",
            "/ self.std * std",
            "/ self.std**2 * std",
            "the reward's scale is another one",
        ),
    ),
    *bugs(
        "align_rm/algorithms/bradley_terry.py",
        "test_reward_model.py",
        (
            "log-sigmoid-without-gradient",
            "-mx.logaddexp(mx.zeros_like(x), -x)",
            "mx.minimum(x, 0.0) - mx.log1p(mx.exp(-mx.abs(x)))",
            "the gradient is 0 at x = 0, where a zero head starts",
        ),
        (
            "log-sigmoid-overflows",
            "-mx.logaddexp(mx.zeros_like(x), -x)",
            "mx.log(mx.sigmoid(x))",
            "a pair that is clearly wrong gives −inf",
        ),
        ("margin-ignored", " - margin * gaps_B", "", "the option does nothing"),
        ("margin-sign", "- margin * gaps_B", "+ margin * gaps_B", "the clearest pairs are learned least"),
        (
            "centering-of-the-difference",
            "mx.square(chosen_B + rejected_B)",
            "mx.square(chosen_B - rejected_B)",
            "scores of a pair are pulled together instead of to zero",
        ),
        (
            "ties-are-right",
            "np.mean(margins_N > 0) + 0.5",
            "np.mean(margins_N > 0) + 1.0",
            "an untrained head is always right",
        ),
    ),
    *bugs(
        "align_rm/objective.py",
        "test_reward_model.py",
        (
            "rejected-preferred",
            "chosen_B, rejected_B = mx.split",
            "rejected_B, chosen_B = mx.split",
            "the reward model learns the opposite",
        ),
        (
            "pairs-mean-of-means",
            "grads = stepping.add(grads, part)",
            "grads = stepping.add(grads, stepping.scale(part, 0.5 * len(pairs) / len(group)))",
            "pairs in small micro-batches weigh more",
        ),
    ),
    *bugs(
        "align_rm/pairs.py",
        "test_reward_model.py",
        (
            "gap-sign",
            'row["score_chosen"] - row["score_rejected"]',
            'row["score_rejected"] - row["score_chosen"]',
            "the margin is negative",
        ),
        (
            "last-pair-lost",
            "    if group:\n        yield group",
            "    if len(group) > 1:\n        yield group",
            "a pair that is left over teaches nothing",
        ),
        (
            "scores-of-pairs-swapped",
            "return chosen, rejected",
            "return rejected, chosen",
            "accuracy is that of the opposite",
        ),
    ),
    *bugs(
        "align_rm/algorithms/calibration.py",
        "test_reward_model.py",
        (
            "calibration-error-by-pair",
            "np.abs(gap).sum()",
            "np.abs(right - confidence).sum()",
            "a calibrated model has an error",
        ),
        (
            "calibration-error-without-temperature",
            "np.abs(margins) / temperature",
            "np.abs(margins)",
            "before and after are the same number",
        ),
        ("temperature-upside-down", "return 1.0 / a", "return a", "confidence is made worse"),
    ),
    *bugs(
        "align_rm/calibrate.py",
        "test_reward_model.py",
        (
            "calibration-error-after-is-before",
            "expected_calibration_error(margins, temperature)",
            "expected_calibration_error(margins)",
            "the report never shows what the temperature did",
        ),
        (
            "reward-scale-by-variance",
            "float(np.std(scores))",
            "float(np.var(scores))",
            "every calibrated reward has another size",
        ),
    ),
    *bugs(
        "align_rm/calibrate.py",
        "test_sharp_edges.py",
        (
            "temperature-always-fitted",
            "if ece_calibration >= WELL_CALIBRATED else 1.0",
            "",
            "a temperature that is not needed moves held-out probabilities",
        ),
    ),
)
