"""What a dry run prints."""

import re

import pytest

from align_mlx.forecast import Forecast, Part, duration
from align_mlx.settings import PassSettings

PLAN = PassSettings(memory_limit=2.5, token_budget=1024, gradient_checkpointing=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (114_000, "31 h 40 min")],
)
def test_durations_are_written_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_parts_add_up():
    """800 × 142 s + 17 × 95 s = 115 215 s = 32 h 0 min 15 s; the peak is 2.25 of 2.5 GiB."""
    parts = (Part("iteration", 800, 142.0, "rollout 61.0"), Part("evaluation point", 17, 95.0))
    found = Forecast("grpo", PLAN, peak=9 * 2**28, parts=parts)
    assert found.seconds == 800 * 142 + 17 * 95
    title, *rows = str(found).splitlines()
    assert title == "grpo"
    table = dict(re.split(r"  +", row.strip(), maxsplit=1) for row in rows)
    assert table["token budget"] == "1024"
    assert table["peak memory"] == "2.25 GiB of 2.5 GiB"
    assert table["iteration"] == "800 × 142.00 s  rollout 61.0"
    assert table["in all"].startswith("32 h 0 min")
