"""Artifacts as an attacker would make them: forged with right digests, so that only the rule under attack protects."""
