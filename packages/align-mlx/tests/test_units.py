import pytest

from align_contracts.errors import ConfigError
from align_mlx.settings import PassSettings
from align_mlx.units import gib


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (8, 8.0),  # bare numbers are GiB
        ("7.5", 7.5),
        (1e-4, 1e-4),
        ("7.5GiB", 7.5),
        ("512 MiB", 0.5),
        ("2tib", 2048.0),
        ("8GB", 8e9 / 2**30),  # powers of 1000
        ("500mb", 5e8 / 2**30),
        (8589934592, 8.0),  # 8 · 2^30 bytes
        ("8589934592", 8.0),
        ("1073741824B", 1.0),
    ],
)
def test_amounts(given, expected):
    assert gib(given) == pytest.approx(expected, rel=1e-15)
    assert PassSettings(memory_limit=given).memory_limit == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("given", ["8 bananas", "GB", "", "1.2.3GB", "-8GB", "8GBB", "nan"])
def test_what_is_no_amount_is_refused(given):
    with pytest.raises(ConfigError, match=r"8GB or 7\.5GiB"):
        gib(given)


def test_none_and_zero(tmp_path):
    assert PassSettings(memory_limit=None).memory_limit is None
    with pytest.raises(ValueError, match="greater than 0"):
        PassSettings(memory_limit="0GB")
