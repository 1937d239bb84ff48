"""PPO and GRPO in one visible loop."""
