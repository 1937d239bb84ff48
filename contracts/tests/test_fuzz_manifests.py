"""Whatever a manifest holds, it is read or refused in one printable line; never another exception, never a hang."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import VerificationError, console
from align_contracts.canonical import canonical_bytes, digest, manifest_bytes
from align_contracts.cli import COMMANDS
from align_contracts.manifest import content_digest, read_manifest
from align_contracts.verify import sidecar_bytes
from fuzzing import JSON, bounded, changed, examples, mutated, refused

GOLDEN = sorted((Path(__file__).parent / "golden" / "valid").rglob("*.json"))
each_golden = st.sampled_from(GOLDEN).map(lambda path: path.read_bytes())


def attempt(data):
    """Read a manifest; True when it was accepted. What is accepted must be what its digests say."""
    try:
        with bounded():
            found, raw = read_manifest(data, "f")
    except VerificationError as error:
        refused(str(error))
        return False
    assert manifest_bytes(raw) == data
    assert content_digest(raw) == found.content_digest
    return True


def resealed(raw):
    """The canonical bytes of a manifest with digests that fit, as far as it has the fields for them."""
    with contextlib.suppress(Exception):
        raw["config_digest"] = digest(raw["config"])
        raw["content_digest"] = content_digest(raw)
    try:
        return manifest_bytes(raw)
    except (VerificationError, AttributeError, TypeError):  # a lone surrogate; not even an object any more
        return json.dumps(raw).encode()


@examples(150)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all(data):
    assert not attempt(data)


@examples(300)
@given(each_golden.flatmap(mutated))
def test_mutated_bytes(data):
    attempt(data)


@examples(500)
@given(each_golden.flatmap(lambda data: changed(json.loads(data))).map(resealed))
def test_changed_structure_under_digests_that_fit(data):
    attempt(data)


FOUND = {
    "a number of 400 digits as a size": lambda raw: raw["files"][0].update(size=10**400),
    "a number of 400 digits as a measured value": lambda raw: raw["metrics"][0].update(value=10**400),
    "a version of 400 digits": lambda raw: raw["schema_version"].update(minor=10**400),
    "a negative version": lambda raw: raw["schema_version"].update(major=-(10**400)),
    "a long text for a number": lambda raw: raw.update(seeds=["x" * 5000]),
    "a long unknown field": lambda raw: raw.update({"x" * 5000: 1}),
    "a lone surrogate": lambda raw: raw["config"].update(x="\ud800"),
    "a kind that is a list": lambda raw: raw.update(kind=["report"]),
    "a kind of 5000 letters": lambda raw: raw.update(kind="x" * 5000),
}
"""Cases that fuzzing found or that it should not have to find again."""


@pytest.mark.parametrize("case", FOUND)
def test_cases_of_their_own(case):
    raw = json.loads((GOLDEN[0].parents[1] / "v1.3" / "policy.json").read_bytes())
    FOUND[case](raw)
    assert not attempt(resealed(raw)) or "size" in case or "version" in case


def console_call(*arguments):
    """Run the console script in this process; the exit code, and everything printed must be printable."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), bounded():
        code = console.main("align-contracts", "", COMMANDS, [str(argument) for argument in arguments])
    printed = out.getvalue() + err.getvalue()
    assert all(line.isprintable() for line in printed.split("\n"))
    assert (code == 0) or "error: " in printed
    return code


@pytest.fixture(scope="module")
def victim(finished_run, tmp_path_factory):
    """A run whose `sft` gets a hostile manifest in every example."""
    import shutil

    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("fuzz") / "run"))


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize("command", [("validate", "--deep"), ("lineage",), ("inspect",), ("inspect", "--json")])
def test_the_console_on_hostile_artifacts(victim, finished_run, command):
    pristine = (finished_run / "sft" / "manifest.json").read_bytes()

    @examples(40)
    @given(changed(json.loads(pristine)).map(resealed) | mutated(pristine))
    def check(data):
        (victim / "sft" / "manifest.json").write_bytes(data)
        (victim / "sft" / "manifest.sha256").write_bytes(sidecar_bytes(data))
        assert console_call(*command, victim / "sft") in ((0, 3) if data != pristine else (0,))

    check()


def test_an_accepted_manifest_is_canonical_json():
    """The oracle of `attempt`: canonical bytes are the fixed point of parsing and writing."""
    for path in GOLDEN:
        assert attempt(path.read_bytes())
        assert json.loads(canonical_bytes(json.loads(path.read_bytes()))) == json.loads(path.read_bytes())
