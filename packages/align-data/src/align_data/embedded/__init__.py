"""The embedded world: a small English preference data set made from a seed, offline and in seconds."""

from align_data.embedded.world import CORPUS_BYTES, corpus, rows

__all__ = ["CORPUS_BYTES", "corpus", "rows"]
