"""Versioned, pydantic-validated artifact manifests, the store that publishes them, and their verification."""
