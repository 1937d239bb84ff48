import json
import platform
import subprocess
import types
from importlib import metadata
from pathlib import Path

import pytest

from align_contracts import installation
from align_contracts.installation import facts, render


@pytest.fixture
def probe(monkeypatch):
    """Answer in MLX's place: probe(stdout, stderr, code)."""

    def answering(stdout="", stderr="", code=0):
        done = types.SimpleNamespace(stdout=stdout, stderr=stderr, returncode=code)
        monkeypatch.setattr(installation.subprocess, "run", lambda *arguments, **named: done)
        monkeypatch.setattr(installation, "_version", lambda name: "1.0" if name == "mlx" else None)
        return installation._probe()

    return answering


def test_what_is_told(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    found = facts()
    assert found["packages"]["align-contracts"] == metadata.version("align-contracts")
    assert found["libraries"]["pydantic"] == metadata.version("pydantic")
    assert found["python"].endswith(platform.python_version())
    assert found["variables"]["OPENBLAS_NUM_THREADS"] == "1"
    assert found["cores"] >= 1
    assert json.loads(json.dumps(found)) == found
    lines = dict(line.split(None, 1) for line in render(found) if line.startswith(("align-contracts", "python")))
    assert lines == {"align-contracts": found["packages"]["align-contracts"], "python": found["python"]}


def test_nothing_private_is_told(monkeypatch):
    """Keys, other variables, the home directory and the machine's name."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("ALIGN_STORE", "/canary/store")
    text = "\n".join(render(facts())) + json.dumps(facts())
    assert "canary" not in text
    assert platform.node() not in text or len(platform.node()) < 4  # a name as short as "x" is in any text
    assert str(Path.home()) not in text


def test_the_device_is_asked_of_mlx(probe):
    answer = json.dumps({"device": "Device(gpu, 0)", "blas": f"{Path.home()}/lib.so"})
    assert probe(answer) == {"device": "Device(gpu, 0)", "blas": "~/lib.so"}
    assert probe(json.dumps({"device": "Device(cpu, 0)", "blas": None}))["blas"] is None


def test_an_mlx_that_does_not_load_is_told(probe, monkeypatch):
    broken = f"Traceback:\nImportError: {Path.home()}/x.so: no such symbol\n"
    assert probe(stderr=broken, code=1)["device"] == "MLX does not load: ImportError: ~/x.so: no such symbol"
    assert probe(code=-9)["device"] == "MLX does not load: it ended with -9"

    def late(*arguments, **named):
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(installation.subprocess, "run", late)
    assert installation._probe()["device"] == "MLX could not be asked"


def test_without_mlx_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(installation, "_version", lambda name: None)
    monkeypatch.setattr(installation.subprocess, "run", lambda *arguments: pytest.fail("asked"))
    assert installation._probe() == {"device": None, "blas": None}


def test_an_installed_package_has_no_commit():
    found = {**facts(), "git_commit": None, "git_dirty": None, "lock_digest": None, "device": None, "blas": None}
    text = "\n".join(render(found))
    for line in ("commit .* none: installed, not a checkout", "lock .* none", "device .* none", "BLAS .* unknown"):
        name, _, value = line.partition(" .* ")
        assert any(row.startswith(name) and row.endswith(value) for row in text.splitlines()), line
