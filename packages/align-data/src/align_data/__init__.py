"""Preference data: sources, splits by prompt, formats, data card, and the embedded world."""
