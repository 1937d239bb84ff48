"""Faults, injected into the real code, and what became of the work: ``nox -s faults``."""
