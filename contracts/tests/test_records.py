import re

import pytest
from pydantic import ValidationError

from align_contracts.records import ROLE, Metric, Quantization


def test_records_are_frozen_strict_and_finite():
    record = Metric(name="kl", value=1)
    assert record.value == 1.0
    with pytest.raises(ValidationError):
        record.value = 2.0
    for wrong in (
        {"name": "kl", "value": "1"},
        {"name": "kl", "value": float("nan")},
        {"name": "kl", "value": float("inf")},
        {"name": "kl", "value": 1.0, "unit": "nats"},
        {"name": "kl", "value": 1.0, "step": 1.5},
        {"name": "kl", "value": 1.0, "step": True},
        {"name": "9kl", "value": 1.0},
    ):
        with pytest.raises(ValidationError):
            Metric.model_validate(wrong)


@pytest.mark.parametrize("bits", [1, 9])
def test_quantization_bits(bits):
    with pytest.raises(ValidationError):
        Quantization(bits=bits, group_size=64)


@pytest.mark.parametrize(
    ("role", "fits"), [("eval_0050", True), ("a.b-c", True), ("", False), ("_a", False), ("a\n", False)]
)
def test_roles(role, fits):
    assert bool(re.fullmatch(ROLE, role)) is fits
