"""The loop, the optimizer, and the proofs that a run carries."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_rl/loop.py",
        "test_loop.py",
        ("prompts-left-out", "if not order or offset == 0:", "if not order:", "a pass goes on with the last order"),
        ("passes-in-one-order", "default_rng([seed, epoch, 2])", "default_rng([seed, 2])", "no new permutation"),
        (
            "minibatches-split-groups",
            "np.isin(rollout.prompts, share)",
            "np.isin(np.arange(len(rollout.prompts)) % len(there), share)",
            "answers of a prompt are torn apart",
        ),
        (
            "minibatches-in-one-order",
            "[config.seed, iteration, epoch, 1]",
            "[config.seed, 1]",
            "every epoch has the same minibatches",
        ),
        ("controllers-rate-ignored", "rate(iteration) * decision.lr_scale", "rate(iteration)", "mode lr does nothing"),
        (
            "controllers-coefficient-ignored",
            "kl_coef=decision.kl_coef)",
            "kl_coef=0.0)",
            "mode reward_penalty does nothing",
        ),
        ("stop-ignored", "[] if decision.stop else update", "update", "mode stop does nothing"),
        ("critic-at-the-actors-rate", "learning_rate if critic is None else critic", "learning_rate", "option is dead"),
        ("null-control-learns", 'if config.control == "null":', 'if config.control == "nil":', "a control that moves"),
        (
            "answers-of-the-first-iteration",
            "draw = Draw(config.seed, iteration)",
            "draw = Draw(config.seed)",
            "no new answers",
        ),
    ),
    *bugs(
        "align_rl/loop.py",
        "test_sharp_edges.py",
        ("largest-ratio-error-added-up", "if name == LARGEST", 'if name == "none"', "more micro-batches, more error"),
        ("equal-rewards-are-live", "np.ptp(rollout.scores_B) > 0 and ", "", "tensors are declared dead for nothing"),
        ("zero-advantages-are-live", "] != 0).item())", "] < 1e9).item())", "the same, of silent groups"),
        ("loss-not-a-number", "require(**facts)", "require(loss=0.0)", "it is trained on"),
        (
            "critic-without-warm-up",
            "warmup(critic, config.warmup_iterations)(iteration)",
            "float(critic)",
            "a rate of the critic's own is full from the start",
        ),
        (
            "critic-moves-without-its-loss",
            "None) == 0:",
            'None) == "0":',
            "a critic without a gradient is dead, not waiting",
        ),
        (
            "evaluation-against-the-first-target",
            "evaluate(state, target)",
            "evaluate(state, config.targets[0])",
            "drift of the last phase passes",
        ),
        (
            "evaluations-actions-forgotten",
            'decision = Control(**state.memory["control"])',
            'Control(**state.memory["control"])',
            "the next iteration writes its own count over them",
        ),
    ),
    *bugs(
        "align_rl/loop.py",
        "test_proofs.py",
        ("nothing-is-live", "and teaches(rollout, experience, index)", "and False", "no tensor is ever asked"),
    ),
    *bugs(
        "align_rl/evaluation.py",
        "test_sharp_edges.py",
        (
            "best-point-with-the-first-policy",
            "asdict(point), state.params",
            "asdict(point), state.best or state.params",
            "what is published is not what was measured",
        ),
        ("start-may-be-best", "if state.iteration > 0 and better", "if better", "an untrained policy is published"),
        ("no-pulling-back-at-evaluation", 'controller == "pullback"', 'controller == ""', "the gate is not met"),
        ("evaluations-pulls-not-counted", 'decision["actions"] + 1', 'decision["actions"]', "actions go unseen"),
    ),
    *bugs(
        "align_rl/algorithms/first_ratio.py",
        "test_proofs.py",
        (
            "first-ratio-unchecked",
            "if not (error <= tolerance and largest <= OUTLIER * tolerance):",
            "if error > 1e9:",
            "a wrong path trains on",
        ),
    ),
    *bugs(
        "align_rl/algorithms/first_ratio.py",
        "test_sharp_edges.py",
        (
            "first-ratio-tolerance-of-bf16",
            "mx.float32: 1e-4",
            "mx.float32: 5e-2",
            "a wrong path that is near trains on",
        ),
        ("first-ratio-of-the-last", 'worst.get("first_ratio_error", 0.0)', "0.0", "the worst iteration is forgotten"),
        (
            "largest-first-ratio-of-the-last",
            'worst.get("first_ratio_error_max", 0.0)',
            "0.0",
            "the same of the largest error",
        ),
    ),
    *bugs(
        "align_mlx/liveness.py",
        "test_proofs.py",
        ("always-alive", "mx.any(grads[name] != 0)", "mx.any(grads[name] == grads[name])", "dead tensors pass"),
        ("never-stops", "if n >= LIVE_UPDATES", "if n >= 1e9", "a dead tensor waits for ever"),
    ),
    *bugs(
        "align_mlx/train_state.py",
        "test_optimizer.py",
        (
            "clip-by-tensor",
            "clipped, norm = optim.clip_grad_norm(grads, max_grad_norm)",
            "clipped, norm = optim.clip_grad_norm(grads, max_grad_norm); "
            "clipped = {k: optim.clip_grad_norm({k: g}, max_grad_norm)[0][k] for k, g in grads.items()}",
            "the direction of the joint gradient is lost",
        ),
        (
            "clip-left-out",
            "self.optimizer.apply_gradients(clipped,",
            "self.optimizer.apply_gradients(grads,",
            "no clip",
        ),
        (
            "bias-correction-off",
            "bias_correction=True",
            "bias_correction=False",
            "the first steps are three times as long",
        ),
        (
            "weight-decay-as-l2",
            "optim.AdamW(learning_rate=0.0, weight_decay=weight_decay, bias_correction=True)",
            'type("L2", (optim.Adam,), {"apply_single": lambda self, g, p, s: optim.Adam.apply_single('
            "self, g + weight_decay * p, p, s)})(learning_rate=0.0, bias_correction=True)",
            "Adam's scaling undoes the decay",
        ),
        ("one-rate-for-all", "_rate(rates, k) / base)", "_rate(rates, k) / base * 0 + 1)", "the critic's rate is dead"),
        ("warm-up-from-zero", "min(1.0, (step + 1) /", "min(1.0, step /", "the first iteration is thrown away"),
    ),
    *bugs(
        "align_rl/loop.py",
        "test_grpo.py",
        (
            "micro-batch-mean-of-means",
            "weights_BT[mx.array(group), : part.learn_BT.shape[1]]",
            "method.weights(part)",
            "the step depends on how memory was saved",
        ),
        (
            "last-micro-batch-alone",
            "grads[k] + g if k in grads else g for",
            "g for",
            "all but the last part of a minibatch is lost",
        ),
    ),
)
