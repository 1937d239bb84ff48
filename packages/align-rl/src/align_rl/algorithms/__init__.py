"""The algorithms as pure functions: arrays in, arrays out. One algorithm a file.

Shapes: B sequences, P prompts, K answers a prompt, T response tokens. Masks are fp32, 1 for a real response token.
"""
