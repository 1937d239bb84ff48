import mlx.core as mx
import pytest

from align_contracts.errors import ConfigError
from align_mlx import compute
from align_mlx.compute import Compute, choose


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", Compute(mx.float32, dense=True)),
        ("cuda", Compute(mx.bfloat16, dense=True)),
        ("metal", Compute(mx.bfloat16, dense=False)),
    ],
)
def test_automatic_choice(monkeypatch, device, expected):
    monkeypatch.setattr(compute, "backend", lambda: device)
    assert choose() == expected


def test_each_part_as_asked(monkeypatch):
    monkeypatch.setattr(compute, "backend", lambda: "metal")
    assert choose("dense") == Compute(mx.bfloat16, dense=True)
    assert choose(dtype="float32") == Compute(mx.float32, dense=False)
    monkeypatch.setattr(compute, "backend", lambda: "cpu")
    assert choose("quantized", "bfloat16") == Compute(mx.bfloat16, dense=False)


def test_backend_of_a_cpu_device():
    device = mx.default_device()
    try:
        mx.set_default_device(mx.Device(mx.cpu))
        assert compute.backend() == "cpu"
    finally:
        mx.set_default_device(device)


@pytest.mark.parametrize(("form", "dtype"), [("sparse", "auto"), ("auto", "float16"), ("auto", "float64")])
def test_unknown_choices_are_refused(form, dtype):
    with pytest.raises(ConfigError, match="unknown compute"):
        choose(form, dtype)
