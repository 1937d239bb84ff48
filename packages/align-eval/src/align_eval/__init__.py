"""Responses, judgments, statistics and the comparison report."""
