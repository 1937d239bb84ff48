"""The store that every test here reads."""

from pathlib import Path

import pytest

from distributed.world_of_toys import publish_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts base, sft, rm and data."""
    return publish_store(tmp_path_factory.mktemp("store"))
