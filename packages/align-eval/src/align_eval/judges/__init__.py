"""Judges: each gives one opinion on each ordered pair of answers."""
