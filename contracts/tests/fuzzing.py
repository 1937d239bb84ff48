"""What the fuzz tests share: how many examples, how long and how much memory one may take, and mutations of bytes.

A plain run tries few examples, the same ones every time. ``ALIGN_FUZZ=N`` tries N times as many, new ones each time;
a failure prints how to repeat it, and becomes a case of its own in the tests beside.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("ALIGN_FUZZ", "1"))
SECONDS = 20
MEGABYTES = 200


def examples(count: int) -> Callable[[Any], Any]:
    """Settings of a fuzz test that tries `count` examples, or `ALIGN_FUZZ` times as many."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail when the block takes longer than `SECONDS`, or (on Linux) more than `MEGABYTES` of new memory."""

    def late(signum: int, frame: Any) -> None:
        raise AssertionError(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEGABYTES * 2**20, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refused(message: str) -> None:
    """Check what a refusal of the file `f` says: its name, in one printable line that somebody can read."""
    assert message.startswith("f")
    assert message.isprintable()
    assert len(message) < 1500


NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "..", "/etc/passwd", "a\0b", "\x1b[31m", "é" * 255, "x" * 5000, "__class__", "a\\b", "\u202e"]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: Any, data: bytes) -> bytes:
    """Bytes after up to four changes: one flipped, a stretch removed, repeated or replaced by noise."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        here = draw(st.integers(0, max(len(out) - 1, 0)))
        end = min(len(out), here + draw(st.integers(1, 40)))
        how = draw(st.sampled_from(["flip", "remove", "repeat", "noise", "cut"]))
        if how == "flip" and out:
            out[here] ^= 1 << draw(st.integers(0, 7))
        elif how == "remove":
            del out[here:end]
        elif how == "repeat":
            out[end:end] = out[here:end] * draw(st.sampled_from([1, 2, 500]))
        elif how == "noise":
            out[here:end] = draw(
                st.binary(max_size=12) | st.sampled_from([b"[" * 2000, b'"', b"\\u0000", b"\\ud800", b"NaN"])
            )
        elif how == "cut":
            del out[here:]
    return bytes(out)


@st.composite
def changed(draw: Any, value: Any) -> Any:
    """JSON after a few changes of its structure: values replaced, removed, doubled, or fields added, anywhere."""
    for _ in range(draw(st.integers(1, 3))):
        value = _change(draw, value)
    return value


def _change(draw: Any, value: Any) -> Any:
    if not isinstance(value, (dict, list)) or not value:
        return draw(JSON)
    out = dict(value) if isinstance(value, dict) else list(value)
    keys = sorted(out) if isinstance(out, dict) else range(len(out))
    key = draw(st.sampled_from(keys))
    how = draw(st.sampled_from(["below", "below", "below", "replace", "remove", "add"]))
    if how == "below":
        out[key] = _change(draw, out[key])
    elif how == "replace":
        out[key] = draw(JSON)
    elif how == "remove":
        del out[key]
    elif isinstance(out, dict):
        out[draw(TEXTS)] = draw(JSON)
    else:
        out.append(draw(st.just(out[key]) | JSON))
    return out
