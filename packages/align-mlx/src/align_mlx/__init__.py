"""MLX primitives shared by the stages: one resident base, adapters per role, log-probs, rollout, training state."""
