"""The same reinforcement learning iteration in our stack and in others', each in a process of its own."""
