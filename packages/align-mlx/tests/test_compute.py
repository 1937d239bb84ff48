import os
import subprocess
import sys

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


def test_the_cache_is_bounded_by_default_and_by_the_environment(monkeypatch):
    before = mx.set_cache_limit(0)
    try:
        monkeypatch.delenv("ALIGN_CACHE_GIB", raising=False)
        monkeypatch.setattr(compute, "backend", lambda: "cuda")
        monkeypatch.setattr(compute, "memory_bytes", lambda: 16 * 1024**3)
        assert compute.bound_cache() == 2 * 1024**3  # an eighth
        assert mx.set_cache_limit(0) == 2 * 1024**3  # MLX gives back the bound that was in force
        monkeypatch.setattr(compute, "backend", lambda: "cpu")
        assert compute.bound_cache() == 0
        monkeypatch.setenv("ALIGN_CACHE_GIB", "0.5")
        assert compute.bound_cache() == 512 * 1024**2
    finally:
        mx.set_cache_limit(before)


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_a_bound_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("ALIGN_CACHE_GIB", text)
    with pytest.raises(ConfigError, match="ALIGN_CACHE_GIB"):
        compute.bound_cache()


@pytest.mark.parametrize("name", ["MLX_ENABLE_TF32", "MLX_USE_CUDA_GRAPHS"])
@pytest.mark.parametrize(("asked", "expected"), [(None, "0"), ("1", "1")])
def test_products_are_not_rounded_and_kernels_not_gathered_unless_the_user_says_so(name, asked, expected):
    env = {k: v for k, v in os.environ.items() if k != name} | ({name: asked} if asked else {})
    code = f"import os, align_mlx; print(os.environ['{name}'])"
    shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [expected]
