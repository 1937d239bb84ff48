from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from align_contracts import console
from align_data.config import BuildConfig


def test_defaults_are_the_studys() -> None:
    config = BuildConfig(out=Path("x"))
    assert (config.seed, config.target_size, config.validation, config.test) == (42, 10_000, 200, 300)
    assert config.source == "embedded"


def test_where_it_goes_is_not_what_it_is() -> None:
    settings = console.deterministic(BuildConfig(out=Path("x")))
    assert {"out", "overwrite", "quiet"}.isdisjoint(settings)
    assert settings == console.deterministic(BuildConfig(out=Path("y"), overwrite=True, quiet=True))


@pytest.mark.parametrize(
    "wrong",
    [{"test": 100}, {"test": -3}, {"target_size": 0}, {"score_bins": 0}, {"gold": -1}, {"source": ""}, {"size": 5}],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        BuildConfig(out=Path("x"), **wrong)


@pytest.mark.parametrize(
    ("source", "recorded"),
    [("embedded", "embedded"), ("hf:maker/set@abc", "hf:maker/set"), ("/some/where/prefs", "prefs"), ("./x/../y", "y")],
)
def test_the_recorded_source_is_a_name(source, recorded):
    assert BuildConfig(out="o", source=source).identity().source == recorded
