import os
import shutil
import socket

import pytest

from align_contracts import ConfigError, MissingError, VerificationError, open_artifact, verify
from align_contracts.canonical import manifest_bytes, strict_loads
from align_contracts.manifest import content_digest
from align_contracts.verify import sidecar_bytes

FILES = {
    "data": ["manifest.json", "manifest.sha256", "notes/card.md", "rows.jsonl", "time.jsonl"],
    "sft": ["manifest.json", "manifest.sha256", "adapter.safetensors", "config.json"],
}


def reseal(root, change):
    """Change a manifest as a forger would: consistent digests, canonical bytes, right sidecar."""
    raw = strict_loads((root / "manifest.json").read_bytes(), "manifest")
    change(raw)
    raw["content_digest"] = content_digest(raw)
    data = manifest_bytes(raw)
    (root / "manifest.json").write_bytes(data)
    (root / "manifest.sha256").write_bytes(sidecar_bytes(data))


def test_the_list_of_files_above_is_complete(finished_run):
    for name, files in FILES.items():
        found = [str(p.relative_to(finished_run / name)) for p in (finished_run / name).rglob("*") if p.is_file()]
        assert sorted(found) == sorted(files)


@pytest.mark.parametrize("bit", [0, 5])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize(("name", "file"), [(name, file) for name in FILES for file in FILES[name]])
@pytest.mark.usefixtures("deep")
def test_a_flipped_bit_of_any_file_is_found_and_the_file_named(run, name, file, where, bit):
    path = run / name / file
    data = bytearray(path.read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[where]] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=file.split("/")[-1].replace(".", r"\.")):
        open_artifact(run / name, deep=True)


@pytest.mark.parametrize(("name", "file"), [(name, file) for name in FILES for file in FILES[name]])
def test_a_cut_or_missing_file_is_found_quickly(run, name, file):
    path = run / name / file
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(VerificationError, match=file):
        open_artifact(run / name)
    path.unlink()
    with pytest.raises(VerificationError, match=f"{file}: missing"):
        open_artifact(run / name)


@pytest.mark.usefixtures("deep")
def test_an_intact_artifact_passes_both(finished_run):
    for path in finished_run.iterdir():
        assert open_artifact(path, deep=True).name == path.name


def test_extra_files_and_directories(run):
    (run / "data" / "notes" / "more.txt").write_text("x")
    with pytest.raises(VerificationError, match=r"data/notes/more.txt: not listed"):
        open_artifact(run / "data")
    (run / "data" / "notes" / "more.txt").unlink()
    (run / "data" / "empty").mkdir()
    with pytest.raises(VerificationError, match=r"data/empty: not listed"):
        open_artifact(run / "data")


def test_files_that_are_not_plain(run, tmp_path):
    path = run / "data" / "rows.jsonl"
    outside = tmp_path / "rows.jsonl"
    shutil.move(path, outside)
    path.symlink_to(outside)
    with pytest.raises(VerificationError, match=r"rows.jsonl: expected a regular file, got a symbolic link"):
        open_artifact(run / "data")
    path.unlink()
    os.link(outside, path)
    with pytest.raises(VerificationError, match="second name"):
        open_artifact(run / "data")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(VerificationError, match="got a FIFO"):
        open_artifact(run / "data")
    path.unlink()
    shutil.copy(outside, path)
    open_artifact(run / "data")
    shutil.move(run / "data" / "notes", tmp_path / "notes")
    (run / "data" / "notes").symlink_to(tmp_path / "notes")
    with pytest.raises(VerificationError, match=r"notes: expected a regular file, got a symbolic link"):
        open_artifact(run / "data")


def test_a_socket_is_refused(run, monkeypatch):
    monkeypatch.chdir(run / "data")  # the path of a socket is limited to about 100 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(VerificationError, match="got a socket"):
            open_artifact(run / "data")


def test_missing_and_wrong_places(tmp_path):
    with pytest.raises(MissingError):
        open_artifact(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(MissingError, match="is a directory"):
        open_artifact(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VerificationError, match=r"empty/manifest.json: missing"):
        open_artifact(tmp_path / "empty")


def _first_file(**changes):
    return lambda raw: raw["files"][0].update(changes)


def _copy_file(**changes):
    return lambda raw: raw["files"].append({**raw["files"][-1], **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_first_file(path="/etc/passwd"), "is absolute"),
        (_first_file(path="../sft/config.json"), "'..' part"),
        (_first_file(path="a\\b"), "backslash"),
        (_first_file(path="a\0b"), "control"),
        (_first_file(path="Manifest.json"), "reserved"),
        (_first_file(path="a.py"), "code"),
        (_first_file(path="zz.txt"), "not sorted|missing"),
        (lambda raw: raw["tensors"].extend([_TENSOR, {**_TENSOR, "name": "a"}]), "tensors are not sorted"),
        (_copy_file(role="other"), "collide"),
        (_copy_file(role="other", path="TIME.jsonl"), "collide"),
        (_copy_file(path="zz.jsonl"), "role 'time' appears twice"),
        (lambda raw: raw["metrics"].append(raw["metrics"][0]), "metric .* appears twice"),
        (lambda raw: raw.update(unknown=1), "unknown"),
        (lambda raw: raw["files"][0].update(unknown=1), "unknown"),
        (lambda raw: raw["details"].pop("source"), "details.source"),
        (lambda raw: raw["details"].update(has_checks="yes"), "details.has_checks"),
        (lambda raw: raw.update(kind="poem"), "unknown kind"),
        (lambda raw: raw["tensors"].append(_TENSOR), r"other\.safetensors: the tensor index"),
    ],
)
def test_a_resealed_manifest_is_still_checked(run, change, message):
    reseal(run / "data", change)
    with pytest.raises(VerificationError, match=message):
        open_artifact(run / "data")


_TENSOR = {"file": "other.safetensors", "name": "w", "dtype": "F32", "shape": [1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["tensors"][0].update(shape=[2, 1]), "differs from the manifest's tensor index"),
        (lambda raw: raw["tensors"].pop(), "differs from the manifest's tensor index"),
        (lambda raw: raw["inputs"][0].update(kind="policy"), "input 'base': expected base_model, got policy"),
        (lambda raw: raw["inputs"][0].update(name="../x"), "inputs.0.name"),
        (lambda raw: raw["details"]["adapters"][0].update(file="/etc/passwd"), "not listed as a file"),
    ],
)
def test_a_resealed_policy_is_still_checked(run, change, message):
    reseal(run / "sft", change)
    with pytest.raises(VerificationError, match=message):
        open_artifact(run / "sft")


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        (b"", "manifest.sha256: damaged"),
        (b"0" * 64 + b"  manifest.json\n", "does not fit manifest.sha256"),
        (b"0" * 64 + b"  manifest.json\n\n", "manifest.sha256: damaged"),
        (b"G" * 64 + b"  manifest.json\n", "manifest.sha256: damaged"),
    ],
)
def test_the_sidecar(run, sidecar, message):
    (run / "data" / "manifest.sha256").write_bytes(sidecar)
    with pytest.raises(VerificationError, match=message):
        open_artifact(run / "data")


@pytest.mark.usefixtures("deep")
def test_the_rust_parser_sees_the_file_that_was_checked(run, tmp_path, monkeypatch):
    """A path that leads elsewhere after the file was opened: the parser gets the open file, not the path."""
    path = run / "sft" / "adapter.safetensors"
    checked, seen = path.stat().st_ino, []
    parser = verify._rust_parser()

    class Spy:
        @staticmethod
        def safe_open(name, framework):
            shutil.move(path, tmp_path / "kept")
            path.symlink_to("/etc/hosts")
            seen.append(os.stat(name).st_ino)
            return parser.safe_open(name, framework=framework)

    monkeypatch.setattr(verify, "_rust_parser", lambda: Spy)
    verify.verify_deep(run / "sft", open_artifact(run / "sft").manifest)
    assert seen == [checked]


@pytest.mark.usefixtures("deep")
def test_what_the_rust_parser_refuses_is_refused(run, monkeypatch):
    class Refusing:
        @staticmethod
        def safe_open(name, framework):
            raise ValueError("not this one")

    monkeypatch.setattr(verify, "_rust_parser", lambda: Refusing)
    with pytest.raises(
        VerificationError, match=r"sft/adapter.safetensors: the safetensors parser refuses it \(not this"
    ):
        open_artifact(run / "sft", deep=True)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", '{"auto_map": {"AutoModel": "m.M"}}', r"config.json: it asks for remote code"),
        ("chat_template.jinja", "{{ x.__class__ }}", r"chat_template.jinja: the chat template reaches"),
    ],
)
def test_code_is_found_quickly_even_when_a_forger_hashed_it(run, file, text, message):
    root = run / "sft"
    (root / file).write_text(text)

    def change(raw):
        record = {"path": file, "role": "forged", "size": len(text), "sha256": "0" * 64, "volatile": False}
        raw["files"] = sorted([*(f for f in raw["files"] if f["path"] != file), record], key=lambda f: f["path"])

    reseal(root, change)
    with pytest.raises(VerificationError, match=message):
        open_artifact(root)


def test_too_many_files_and_tensors(run, monkeypatch):
    monkeypatch.setattr(verify, "MAX_TENSORS", 1)
    with pytest.raises(VerificationError, match="sft: too many tensors: expected at most 1"):
        open_artifact(run / "sft")
    monkeypatch.setattr(verify, "MAX_FILES", 2)
    with pytest.raises(VerificationError, match="data: too many files: expected at most 2, got 3"):
        open_artifact(run / "data")


def test_a_manifest_beyond_the_limit_is_not_read(run, monkeypatch):
    monkeypatch.setattr(verify, "MAX_MANIFEST_BYTES", 10)
    with pytest.raises(VerificationError, match=r"data/manifest\.json: too large: expected at most 10 bytes"):
        open_artifact(run / "data")


def test_what_the_system_refuses_is_told(run, monkeypatch):
    def failing(root):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(verify, "list_tree", failing)
    with pytest.raises(VerificationError, match=r"data: cannot be read .*Input/output error"):
        open_artifact(run / "data")


def test_a_name_that_no_file_system_can_have(run):
    with pytest.raises(MissingError, match="no such artifact"):
        open_artifact(run / ("x" * 300))


def test_a_manifest_in_other_bytes_is_refused_even_with_a_fitting_sidecar(run):
    path = run / "data" / "manifest.json"
    data = path.read_bytes() + b"\n"
    path.write_bytes(data)
    (run / "data" / "manifest.sha256").write_bytes(sidecar_bytes(data))
    with pytest.raises(VerificationError, match="not the canonical bytes"):
        open_artifact(run / "data")


def test_deep_needs_the_extra_and_says_so(run, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(verify, "_import", absent)
    open_artifact(run / "data", deep=True)  # no safetensors in it, so nothing is needed
    with pytest.raises(ConfigError, match=r"Install align-contracts\[deep\]"):
        open_artifact(run / "sft", deep=True)


@pytest.mark.usefixtures("deep")
def test_deep_finds_what_a_forger_hashed(run, write_safetensors):
    nan = write_safetensors({"w": ("BF16", [2], bytes.fromhex("803fc07f"))})
    root = run / "sft"
    (root / "adapter.safetensors").write_bytes(nan)

    def change(raw):
        from hashlib import sha256

        raw["files"][0].update(size=len(nan), sha256=sha256(nan).hexdigest())
        raw["tensors"] = [{"file": "adapter.safetensors", "name": "w", "dtype": "BF16", "shape": [2]}]

    reseal(root, change)
    open_artifact(root)  # quick verification does not read the weights
    with pytest.raises(VerificationError, match=r"adapter.safetensors: tensor 'w' holds NaN"):
        open_artifact(root, deep=True)
