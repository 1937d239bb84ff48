import subprocess
import sys
import types

from align_contracts import provenance
from align_contracts.records import Environment, Producer


def test_producer_and_environment_fit_their_records():
    made = Producer.model_validate(provenance.producer("align-contracts"))
    assert made.package == "align-contracts"
    assert made.version[0].isdigit()
    machine = Environment.model_validate(provenance.environment())
    assert machine.memory > 2**26
    assert machine.chip


def test_an_unknown_package_has_no_version():
    assert provenance.producer("no-such-package")["version"] == "unknown"


def test_the_device_is_looked_up_only_when_mlx_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    assert provenance.environment()["device"] is None
    core = types.SimpleNamespace(default_device=lambda: "Device(gpu, 0)")
    monkeypatch.setitem(sys.modules, "mlx.core", core)
    found = provenance.environment()
    assert found["device"] == "Device(gpu, 0)"
    assert "-gpu-" in found["determinism_class"]


def _checkout_at(root, monkeypatch):
    source = root / "contracts" / "src" / "align_contracts" / "provenance.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(provenance, "__file__", str(source))
    return provenance._checkout.__wrapped__()


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    assert set(_checkout_at(tmp_path, monkeypatch).values()) == {None}


def test_commit_and_dirty_of_a_checkout(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "pyproject.toml").write_text("")
    (tmp_path / "uv.lock").write_bytes(b"abc")
    git("init", "-q")
    empty = _checkout_at(tmp_path, monkeypatch)
    assert empty["git_commit"] is None
    git("add", "uv.lock")
    git("commit", "-q", "-m", "x")
    clean = _checkout_at(tmp_path, monkeypatch)
    assert clean["git_commit"] == git("rev-parse", "HEAD")
    assert clean["git_dirty"] is False
    assert clean["lock_digest"].startswith("ba7816bf")  # sha256("abc"), FIPS 180-2
    (tmp_path / "uv.lock").write_bytes(b"abd")
    assert _checkout_at(tmp_path, monkeypatch)["git_dirty"] is True


def test_a_program_that_is_absent_or_fails_says_nothing():
    assert provenance._output("no-such-program-here") == ""
    assert provenance._output("git", "no-such-command") == ""
