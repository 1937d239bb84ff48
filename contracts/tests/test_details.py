import pytest
from pydantic import ValidationError

from align_contracts.details import INPUT_KINDS, DatasetDetails, PolicyDetails, RewardModelDetails
from align_contracts.manifest import MANIFESTS, details_model


def test_every_kind_accepts_its_sample_and_no_other(details):
    for kind in MANIFESTS:
        model = details_model(kind)
        model.model_validate(details[kind], strict=False)
        for other in set(MANIFESTS) - {kind}:
            with pytest.raises(ValidationError):
                model.model_validate(details[other], strict=False)


def test_named_files(details):
    adapters = [{**details["policy"]["adapters"][0], "file": name} for name in ("a", "b")]
    policy = PolicyDetails.model_validate({**details["policy"], "adapters": adapters}, strict=False)
    assert policy.named_files() == ("a", "b")
    rm = RewardModelDetails.model_validate({**details["reward_model"], "head_file": "h"}, strict=False)
    assert rm.named_files() == ("adapter.safetensors", "h")
    assert DatasetDetails.model_validate(details["dataset"], strict=False).named_files() == ()


def test_input_kinds_are_kinds():
    assert {kind for kinds in INPUT_KINDS.values() for kind in kinds} <= set(MANIFESTS)
