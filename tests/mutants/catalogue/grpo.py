"""GRPO: groups, the score normaliser, how token losses are weighted."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_rl/algorithms/grpo.py",
        "test_surrogate.py",
        (
            "mean-of-the-batch",
            "rewards_PK - rewards_PK.mean(axis=1, keepdims=True)",
            "rewards_PK - rewards_PK.mean()",
            "easy prompts are good and hard ones bad, whatever the answer",
        ),
        (
            "mean-over-prompts",
            "rewards_PK - rewards_PK.mean(axis=1, keepdims=True)",
            "rewards_PK - rewards_PK.mean(axis=0, keepdims=True)",
            "answers are compared across prompts",
        ),
        (
            "std-of-the-population",
            "keepdims=True, ddof=1)",
            "keepdims=True)",
            "K for K − 1: small groups get larger advantages",
        ),
        (
            "std-of-the-batch-by-group",
            "mx.sqrt(rewards_PK.var(ddof=1))",
            "mx.sqrt(rewards_PK.var(axis=1, keepdims=True, ddof=1))",
            "scale_rewards=batch does what group does",
        ),
        (
            "std-of-the-advantages",
            "mx.sqrt(rewards_PK.var(ddof=1))",
            "mx.sqrt(centred_PK.var(ddof=1))",
            "differences between prompts do not count in the batch's scale",
        ),
        (
            "silent-groups-blown-up",
            "mx.where(equal_P1, 0.0, rewards_PK - rewards_PK.mean(axis=1, keepdims=True))",
            "rewards_PK - rewards_PK.mean(axis=1, keepdims=True)",
            "the last bit of equal rewards, divided by ε, is an advantage",
        ),
        (
            "variance-for-std",
            "mx.sqrt(rewards_PK.var(axis=1, keepdims=True, ddof=1))",
            "rewards_PK.var(axis=1, keepdims=True, ddof=1)",
            "groups that differ little get huge advantages",
        ),
    ),
    *bugs(
        "align_rl/methods/grpo.py",
        "test_grpo.py",
        (
            "groups-of-other-prompts",
            "answer_advantages(scores, rollout.prompts,",
            "answer_advantages(scores.reshape(self.answers, -1).T.reshape(-1), rollout.prompts,",
            "a group is one answer of each of several prompts",
        ),
        (
            "normalised-before-the-update",
            "self.normalizer = self.normalizer.update(scores)\n            scores = self.normalizer.normalize(scores)",
            "scores = self.normalizer.normalize(scores)\n            self.normalizer = self.normalizer.update(scores)",
            "the first batch is normalised by 3 and 1",
        ),
        (
            "normaliser-forgets",
            "self.normalizer = self.normalizer.update(scores)",
            "self.normalizer = ScoreNormalizer(alpha=config.normalizer_alpha).update(scores)",
            "no running average",
        ),
        (
            "normaliser-not-resumed",
            "ScoreNormalizer(mean, std, self.config.normalizer_alpha)",
            "ScoreNormalizer(alpha=self.config.normalizer_alpha)",
            "a resumed run goes on as another one",
        ),
        ("scores-around-zero", "mean=3.0", "mean=0.0", "the clip to [1, 5] takes them all"),
        (
            "grpo-ratio-against-the-reference",
            "rollout.rows, rollout.batch, rollout.logprobs_BT",
            "rollout.rows, rollout.batch, rollout.ref_logprobs_BT",
            "the policy is clipped around where it began",
        ),
        ("kl-penalty-sign", "scores = scores - kl_coef", "scores = scores + kl_coef", "drifting away pays"),
        (
            "kl-penalty-over-padding",
            "rollout.ref_logprobs_BT) * mask_BT).sum(axis=1)",
            "rollout.ref_logprobs_BT)).mean(axis=1)",
            "a mean over the padded width for a sum over the answer",
        ),
        ("gspo-by-token", 'self.config.loss_type == "gspo"', "False", "GSPO is GRPO"),
    ),
    *bugs(
        "align_rl/algorithms/normalizer.py",
        "test_surrogate.py",
        ("normaliser-by-variance", "mx.sqrt(scores.var())", "scores.var()", "variance for std"),
        ("normaliser-without-clip", "1.0, 5.0)", "-1e9, 1e9)", "one outlier rules its group"),
        (
            "normaliser-weights-swapped",
            "keep * self.mean + (1 - keep) *",
            "(1 - keep) * self.mean + keep *",
            "the running mean is the last batch's",
        ),
    ),
    *bugs(
        "align_rl/algorithms/surrogate.py",
        "test_surrogate.py",
        (
            "dr-grpo-by-padded-width",
            "mask_BT.shape[0] * max_length",
            "mask_BT.shape[0] * mask_BT.shape[1]",
            "the constant depends on the longest answer of the batch",
        ),
        (
            "dapo-by-answer",
            "mask_BT / mx.maximum(mask_BT.sum(), 1.0)",
            "mask_BT / mx.maximum(mask_BT.sum(axis=1, keepdims=True), 1.0) / mask_BT.shape[0]",
            "a token of a short answer weighs more",
        ),
        (
            "grpo-by-token",
            "mask_BT / mx.maximum(lengths_B1, 1.0) / mx.maximum(",
            "mask_BT / mx.maximum(lengths_B1.mean(), 1.0) / mx.maximum(",
            "a long answer weighs more",
        ),
        (
            "masked-answers-counted",
            "(lengths_B1 > 0).astype(mx.float32).sum()",
            "mask_BT.shape[0]",
            "answers that do not learn make the others' step smaller",
        ),
        (
            "gspo-without-length",
            " / mx.maximum(mask_BT.sum(axis=1, keepdims=True), 1.0)",
            "",
            "the ratio of a long answer is far outside of any clip",
        ),
    ),
    *bugs(
        "align_rl/rollout.py",
        "test_grpo.py",
        (
            "truncated-answers-leak",
            "self.batch.mask_BT * kept_B1 if mask_truncated",
            "self.batch.mask_BT if mask_truncated",
            "the option does nothing",
        ),
    ),
)
