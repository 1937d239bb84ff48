"""Versioned, pydantic-validated artifact manifests, the store that publishes them, and their verification."""

from align_contracts.artifact import Artifact, open_artifact
from align_contracts.draft import Draft
from align_contracts.errors import (
    AlignError,
    BudgetError,
    ConfigError,
    DivergedError,
    IncompleteError,
    InterruptedRun,
    KindError,
    LockedError,
    MissingError,
    PreflightError,
    SchemaVersionError,
    VerificationError,
)
from align_contracts.manifest import Manifest
from align_contracts.store import publish

__all__ = [
    "AlignError",
    "Artifact",
    "BudgetError",
    "ConfigError",
    "DivergedError",
    "Draft",
    "IncompleteError",
    "InterruptedRun",
    "KindError",
    "LockedError",
    "Manifest",
    "MissingError",
    "PreflightError",
    "SchemaVersionError",
    "VerificationError",
    "open_artifact",
    "publish",
]
