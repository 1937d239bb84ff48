"""KL: estimators, the exact divergence, and what the controller does."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_rl/algorithms/kl.py",
        "test_kl.py",
        (
            "k1-sign",
            "return logprobs_BT - ref_logprobs_BT",
            "return ref_logprobs_BT - logprobs_BT",
            "the penalty pays",
        ),
        (
            "k3-direction",
            "d_BT = ref_logprobs_BT - logprobs_BT",
            "d_BT = logprobs_BT - ref_logprobs_BT",
            "exp(θ − ref)",
        ),
        ("k3-sign", "mx.exp(d_BT) - d_BT - 1.0", "mx.exp(d_BT) + d_BT - 1.0", "neither unbiased nor ≥ 0"),
        ("k3-without-one", "mx.exp(d_BT) - d_BT - 1.0", "mx.exp(d_BT) - d_BT", "1 at equal policies"),
    ),
    *bugs(
        "align_mlx/softmax.py",
        "test_kl.py",
        ("exact-kl-normalisers", "- p.lse_N + q.lse_N", "+ p.lse_N - q.lse_N", "not even 0 at equal policies"),
        (
            "exact-kl-direction",
            "(powers_NV * (z_NV - w_NV))",
            "(powers_NV * (w_NV - z_NV))",
            "the sign of the mean gap",
        ),
    ),
    *bugs(
        "align_rl/measures.py",
        "test_kl.py",
        (
            "controller-reads-k1",
            '"kl": masked_mean(rollout.kl_BT',
            '"kl": masked_mean(k1(*kl_args)',
            "its noise is larger than the target",
        ),
    ),
    *bugs(
        "align_rl/algorithms/controller.py",
        "test_kl.py",
        ("above-is-below", "above = kl > target", "above = kl < target", "acts where nothing is wrong"),
        ("rate-raised-above", "state.lr_scale / factor) if", "state.lr_scale * factor) if", "drift speeds up"),
        ("pullback-linear", "(target / kl) ** 0.5", "(target / kl)", "KL grows with the square of the adapter"),
        ("penalty-error-sign", "kl / target - 1.0", "1.0 - kl / target", "the penalty falls while KL rises"),
        ("penalty-error-not-clipped", "max(-0.2, min(0.2, kl / target - 1.0))", "kl / target - 1.0", "it jumps"),
        ("phase-off-by-one", "iteration * len(targets)", "(iteration + 1) * len(targets)", "targets shrink too early"),
    ),
    *bugs(
        "align_rl/methods/actor.py",
        "test_kl.py",
        (
            "pullback-of-a-too",
            'k.startswith(ACTOR) and k.endswith("lora_b")',
            "k.startswith(ACTOR)",
            "the product shrinks by the square",
        ),
        (
            "pullback-of-the-critic",
            'k.startswith(ACTOR) and k.endswith("lora_b")',
            'k.endswith("lora_b")',
            "the critic forgets what it has learned",
        ),
    ),
    *bugs(
        "align_rl/algorithms/controller.py",
        "test_sharp_edges.py",
        ("rate-without-a-floor", "max(floor, state.lr_scale / factor)", "state.lr_scale / factor", "it never recovers"),
        (
            "pulled-back-without-bound",
            "max(0.5, (target / kl) ** 0.5)",
            "(target / kl) ** 0.5",
            "one outlier undoes a run",
        ),
    ),
    *bugs(
        "align_rl/methods/ppo.py",
        "test_ppo.py",
        ("kl-reward-sign", "rewards_BT - kl_coef", "rewards_BT + kl_coef", "drifting away pays"),
    ),
    *bugs(
        "align_rl/rollout.py",
        "test_rollout.py",
        (
            "reference-wears-the-actor",
            "for worn in ((actor,), ())",
            "for worn in ((actor,), (actor,))",
            "KL is always 0",
        ),
        (
            "old-is-the-reference",
            "for worn in ((actor,), ())",
            "for worn in ((), ())",
            "the policy that sampled is not the one that is scored",
        ),
        (
            "old-logprobs-at-temperature-one",
            "temperature=config.temperature, gradient",
            "temperature=1.0, gradient",
            "the first ratio is not 1",
        ),
        ("logprobs-by-length", "out[group, :", "out[sorted(group), :", "they go to other answers"),
        (
            "exact-kl-of-the-reference",
            "response_kl(resident, actor_BSD, reference_BSD,",
            "response_kl(resident, reference_BSD, actor_BSD,",
            "the mean is over the reference's tokens, not the policy's",
        ),
        ("kl-estimator-ignored", 'config.kl_estimator == "exact"', "False", "the option does nothing"),
    ),
    *bugs(
        "align_contracts/selection.py",
        "test_kl.py",
        (
            "higher-perplexity-selected",
            "candidate.perplexity < best.perplexity",
            "candidate.perplexity > best.perplexity",
            "the worst checkpoint is published",
        ),
        ("lower-reward-selected", "candidate.reward > best", "candidate.reward < best", "the same by reward"),
        ("kl-gate-ignored", "candidate.passes != best.passes", "False", "reward may be bought by drift"),
        ("kl-gate-upside-down", "self.kl < self.target_kl", "self.kl > self.target_kl", "only drift passes"),
    ),
)
