import subprocess
import sys

import pytest

from align_contracts.secrets import holds_key, masked

CANARY = "canary/7d41f0+0123456789=="


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_values_of_the_environment(monkeypatch, name):
    assert masked(f"a {CANARY} b") == f"a {CANARY} b"
    monkeypatch.setenv(name, f" {CANARY}\n")
    assert masked(f"a {CANARY} b {CANARY}") == "a *** b ***"
    assert masked("?key=canary%2F7d41f0%2B0123456789%3D%3D&x") == "?key=***&x"
    assert holds_key(f"openai:{CANARY}")
    assert not holds_key("openai:gpt-4o-mini")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sk-proj-0123456789abcdef_XYZ is bad", "*** is bad"),
        ("hf_abcdefghijklmnopqrst", "***"),
        ("http://user:pass@host/v1", "http://***@host/v1"),
        ("at https://token@host, no", "at https://***@host, no"),
        ("risk-averse-and-more-than-that", "risk-averse-and-more-than-that"),
        ("a@b.example and http://host/@x", "a@b.example and http://host/@x"),
        ("run/sk-short", "run/sk-short"),
    ],
)
def test_the_form_of_keys_and_logins(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize("filler", ["none", "EMPTY", "x"])
def test_a_filler_is_no_secret(monkeypatch, filler):
    monkeypatch.setenv("OPENAI_API_KEY", filler)
    assert masked(f"Verdict: {filler}") == f"Verdict: {filler}"
    assert not holds_key(f"run/{filler}")


def test_a_filler_of_some_length_may_stand_in_a_path(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "not-needed")
    assert not holds_key("run/not-needed")


LOG = """
import logging
from align_contracts.secrets import mask_logs
logging.basicConfig(level="DEBUG", format="%(message)s")
mask_logs()
log = logging.getLogger("library")
log.debug("headers %s", [KEY])
try:
    raise ValueError(f"bad {KEY}")
except ValueError:
    log.exception("told with %d traceback", 1)
"""


def test_what_libraries_log(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    done = subprocess.run(
        [sys.executable, "-c", f"KEY = {CANARY!r}\n{LOG}"], capture_output=True, text=True, check=True
    )
    assert "headers ['***']\ntold with 1 traceback\n" in done.stderr
    assert done.stderr.endswith("ValueError: bad ***\n")
    assert CANARY not in done.stderr
