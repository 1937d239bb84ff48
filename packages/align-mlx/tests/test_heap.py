"""The C library's settings: what it is told, and that arrays of new sizes then cost no fresh pages."""

import ctypes
import subprocess
import sys

import pytest

from align_mlx import heap

GROW = """
import resource, sys
import mlx.core as mx
from align_mlx.compute import bound_cache

bound_cache()
for rows in range(1, 400):  # 4 MiB to 6 MiB, each size once: 2 GiB in all
    mx.eval(mx.zeros((1000 + rows, 1024)) + 1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_library_without_these_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert heap.keep_pages() is False


def test_a_refused_setting_is_reported(monkeypatch):
    told: list[int] = []

    class Library:
        def mallopt(self, which, size):
            told.append(which)
            return 0 if which == -3 else 1  # glibc gives 0 for a value that it does not allow

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert heap.keep_pages() is False
    assert sorted(told) == [-3, -2, -1]


@pytest.mark.skipif(sys.platform != "linux", reason="the C library's own allocator is told on Linux only")
def test_arrays_of_ever_new_sizes_do_not_pile_up():
    # The arrays alive at any time take less than 20 MiB; kept for reuse by size they would take 2 GiB.
    done = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 700 * 1024  # KiB
