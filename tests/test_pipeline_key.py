"""The pipeline looks for the judge's key before the first step, not after the last run."""

from pathlib import Path

import pytest

from align_contracts import ConfigError
from pipeline.plan import plan
from pipeline.preflight import require_judge

RECIPE = Path(__file__).parent.parent / "recipes" / "gemma-2b-ultrafeedback.toml"


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    return plan(RECIPE, tmp_path_factory.mktemp("out"), [])[1]


def test_a_study_judged_by_openai_does_not_begin_without_a_key(steps):
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        require_judge(steps, {})


def test_it_begins_with_one(steps):
    require_judge(steps, {"OPENAI_API_KEY": "sk-x"})


def test_a_server_of_ones_own_needs_none(tmp_path):
    steps = plan(RECIPE, tmp_path, ["judge.base_url=http://127.0.0.1:8080/v1"])[1]
    require_judge(steps, {})
