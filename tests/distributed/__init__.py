"""Runs of several processes on this machine, beside the same runs of one: ``python -m distributed``."""
