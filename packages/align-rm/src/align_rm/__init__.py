"""Bradley-Terry reward model."""
