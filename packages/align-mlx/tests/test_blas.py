import ctypes
import os
import subprocess
import sys

import pytest

from align_mlx import blas


def test_nothing_to_do_off_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas.load() == "not needed"


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("ALIGN_BLAS", "off")
    assert blas.load() == "off"


def test_a_library_that_does_not_load_is_no_reason_to_take_another(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("ALIGN_BLAS", "/nowhere")
    monkeypatch.delitem(sys.modules, "mlx.core")
    assert blas.load() == "missing: /nowhere"


def test_it_needs_the_standard_library_alone():
    """The benchmarks' peers load the file in environments that have none of our packages."""
    code = f"import runpy; print(runpy.run_path({blas.__file__!r})['load']())"
    env = {**os.environ, "ALIGN_BLAS": "off"}
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ("off" if sys.platform == "linux" else "not needed")


def test_who_computes_refuses_it():
    code = "from align_mlx.compute import bound_cache; bound_cache()"
    env = {**os.environ, "ALIGN_BLAS": "/nowhere"}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    if sys.platform == "linux":
        assert found.stderr.strip().endswith(
            "ConfigError: ALIGN_BLAS: expected a BLAS library that loads, or off, got /nowhere. Correct it, or unset it"
        )
    else:
        assert found.returncode == 0


def test_it_is_too_late_once_mlx_is_imported(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("ALIGN_BLAS", raising=False)
    assert "mlx.core" in sys.modules
    assert blas.load() == "already imported"


def test_no_scipy_is_said(monkeypatch):
    monkeypatch.setattr(blas.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match="SciPy is not installed"):
        blas.scipy_openblas()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux wheels of SciPy carry OpenBLAS")
def test_the_copy_has_the_usual_names_and_adds_up(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = blas.scipy_openblas()
    assert path.parent == tmp_path / "align" / "blas"
    library = ctypes.CDLL(str(path))
    with pytest.raises(AttributeError):
        library.scipy_cblas_ddot  # noqa: B018
    library.cblas_ddot.restype = ctypes.c_double
    x, y = (ctypes.c_double * 3)(1, 2, 3), (ctypes.c_double * 3)(4, 5, 6)
    assert library.cblas_ddot(3, x, 1, y, 1) == 1 * 4 + 2 * 5 + 3 * 6
    made = path.stat().st_mtime_ns
    assert blas.scipy_openblas() == path
    assert path.stat().st_mtime_ns == made  # made once, then kept


def test_importing_the_package_says_what_it_found():
    code = "import align_mlx; print(align_mlx.BLAS)"
    env = {**os.environ, "ALIGN_BLAS": "off"}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ("off" if sys.platform == "linux" else "not needed")


class TestShared:
    """An equal share of the cores for each process: in the library, and for processes that are started meanwhile."""

    @pytest.fixture(autouse=True)
    def four_cores(self, monkeypatch):
        monkeypatch.delenv(blas.THREADS, raising=False)
        monkeypatch.setattr(blas, "cores", lambda: 4)

    @pytest.fixture
    def threads(self):
        count = getattr(ctypes.CDLL(None), "openblas_get_num_threads", None)
        if count is None:
            pytest.skip("this process computes without OpenBLAS")
        return count

    def test_two_processes_on_four_cores(self, threads):
        before = threads()
        with blas.shared(2):
            assert os.environ[blas.THREADS] == "2"
            assert threads() == 2
        assert blas.THREADS not in os.environ
        assert threads() == before

    def test_more_processes_than_cores(self, threads):
        with blas.shared(9):
            assert (os.environ[blas.THREADS], threads()) == ("1", 1)

    def test_one_process_has_all(self, threads):
        before = threads()
        with blas.shared(1):
            assert blas.THREADS not in os.environ
            assert threads() == before

    def test_what_the_environment_says_is_kept(self, threads, monkeypatch):
        monkeypatch.setenv(blas.THREADS, "3")
        before = threads()
        with blas.shared(2):
            assert os.environ[blas.THREADS] == "3"
            assert threads() == before
