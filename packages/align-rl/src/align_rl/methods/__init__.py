"""PPO and GRPO as two small objects with the same face; the loop does not know which one it runs."""
