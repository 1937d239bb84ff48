"""The embedded world: a small English preference data set made from a seed, offline and in seconds."""

from align_data.embedded.world import corpus, rows

__all__ = ["corpus", "rows"]
