import mlx.core as mx
import pytest

from align_contracts.errors import DivergedError, VerificationError
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter
from align_mlx.finite import all_finite, broken, listed, require_finite

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("place", [0, 5, 11])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_one_element_anywhere_is_found(value, place, dtype):
    flat = [float(i) for i in range(12)]
    assert all_finite([mx.array(flat, dtype), mx.zeros(3)]).item()
    flat[place] = value
    assert not all_finite([mx.zeros(3), mx.array(flat, dtype).reshape(3, 4)]).item()


def test_opposite_infinities_do_not_cancel():
    assert not all_finite([mx.array([INF, -INF])]).item()


def test_nothing_is_finite():
    assert all_finite([]).item()


def test_broken_tensors_are_named_and_counted():
    arrays = {
        "good": mx.array([1.0, -3e38, 3e38]),  # large, but numbers
        "codes": mx.array([0xFFFFFFFF, 0x7FC00000], mx.uint32),  # as bits of a float the second would be NaN
        "bad": mx.array([[NAN, 1.0, INF], [-INF, NAN, NAN]]),
    }
    (found,) = broken(arrays)
    assert (found.name, found.nan, found.inf, found.size) == ("bad", 3, 2, 6)
    assert str(found) == "bad (3 NaN and 2 inf of 6)"


def test_a_refusal_names_the_first_few():
    arrays = {f"t{i}": mx.array([NAN]) for i in range(6)}
    with pytest.raises(VerificationError, match=r"the head holds weights .* t0 \(1 NaN of 1\), t1 .* and 2 more. Make"):
        require_finite(arrays, "the head", do="Make another")
    with pytest.raises(DivergedError):
        require_finite(arrays, "the head", do="Make another", error=DivergedError)
    require_finite({"t": mx.zeros(2)}, "the head", do="Make another")
    assert listed("ab") == "a, b"


@pytest.mark.parametrize("value", [NAN, INF])
def test_no_adapter_is_saved_with_numbers_that_are_none(tmp_path, value):
    params = {"model.layers.0.q_proj.lora_a": mx.zeros((4, 2)), "model.layers.0.q_proj.lora_b": mx.zeros((2, 4))}
    extra = {"head.bias": mx.array([value])}
    with pytest.raises(DivergedError, match=r"adapter\.safetensors"):
        lora.save(Adapter(params), tmp_path / "adapter.safetensors", extra=extra)
    assert not list(tmp_path.iterdir())
    large = {name: mx.full(array.shape, 3.4e38) for name, array in params.items()}  # rounds to infinity in bf16
    lora.save(Adapter(large), tmp_path / "fp32.safetensors")
    with pytest.raises(DivergedError, match="lora_a"):
        lora.save(Adapter(large), tmp_path / "bf16.safetensors", dtype=mx.bfloat16)
