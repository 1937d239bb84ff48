"""LoRA, the resident base and the roles that share it."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_mlx/adapters.py",
        "test_logprobs.py",
        ("lora-scale-missing", ", alpha=scale)", ")", "alpha has no effect"),
        ("lora-scale-twice", ", alpha=scale)", ", alpha=scale * scale)", "the adapter is too strong"),
        (
            "lora-a-detached",
            "a.astype(x.dtype)",
            "mx.stop_gradient(a).astype(x.dtype)",
            "half of the adapter stays as it was drawn",
        ),
        (
            "one-adapter-at-a-time",
            "y = mx.addmm(y,",
            "y = mx.addmm(self.base(x),",
            "of several adapters on a stack only the last counts",
        ),
        (
            "lora-b-does-not-start-at-zero",
            "mx.zeros((spec.rank, outputs))",
            "mx.random.normal((spec.rank, outputs), key=sub)",
            "a policy starts away from its reference",
        ),
    ),
    *bugs(
        "align_mlx/adapters.py",
        "test_proofs.py",
        (
            "lora-a-starts-at-zero",
            "mx.random.uniform(-bound, bound, (inputs, spec.rank), key=sub)",
            "mx.zeros((inputs, spec.rank))",
            "with A = B = 0 neither ever gets a gradient",
        ),
    ),
    *bugs(
        "align_mlx/resident.py",
        "test_sft.py",
        (
            "shared-adapter-forgotten",
            "else (*self.shared, *adapters))",
            "else adapters)",
            "policy and reference stand on the raw base instead of the SFT policy",
        ),
        (
            "folded-without-scale",
            "adapter.scale * (pair[0]",
            "(pair[0]",
            "the SFT policy under every role is another one",
        ),
    ),
    *bugs(
        "align_mlx/resident.py",
        "test_sharp_edges.py",
        (
            "decoding-without-the-shared-adapter",
            "whole = (*self.shared, *adapters)",
            "whole = tuple(adapters)",
            "answers are the raw base's, scored as the SFT policy's",
        ),
    ),
    *bugs(
        "align_mlx/recompute.py",
        "test_invariance.py",
        (
            "checkpointing-forgets-the-scale",
            "(*pair, scale) for pair",
            "(*pair, 1.0) for pair",
            "another model is trained to save memory",
        ),
        (
            "mlp-learns-from-its-last-part",
            "[a + b for a, b in zip(sums, grads[1:], strict=True)] if sums else grads[1:]",
            "grads[1:]",
            "three quarters of the tokens teach the MLP's adapters nothing",
        ),
    ),
    *bugs(
        "align_rl/methods/actor.py",
        "test_ppo.py",
        (
            "alpha-not-over-rank",
            "config.lora_alpha / config.lora_rank",
            "config.lora_alpha",
            "the strength of the actor grows with its rank",
        ),
        (
            "actor-wears-the-critics-adapter",
            'ACTOR = "actor."',
            'ACTOR = "critic."',
            "actor and critic are one set of weights",
        ),
    ),
    *bugs(
        "align_rl/methods/ppo.py",
        "test_ppo.py",
        (
            "critic-wears-the-actors-adapter",
            "part_of(params, CRITIC)",
            "part_of(params, ACTOR)",
            "the value loss trains the actor, and the critic's adapter is dead",
        ),
    ),
    *bugs(
        "align_rl/methods/ppo.py",
        "test_sharp_edges.py",
        (
            "critic-at-the-actors-scale",
            'scorer.adapter.scale if config.critic_init == "rm" else config.lora_alpha / config.lora_rank',
            "config.lora_alpha / config.lora_rank",
            "a critic that starts as the reward model is another model where their alpha / rank differ",
        ),
    ),
)
