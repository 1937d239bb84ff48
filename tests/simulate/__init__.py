"""Thousands of studies whose truth is known, and how the statistics of align-eval do on them: ``nox -s simulate``."""
