import json
import multiprocessing
import os
import signal
import time
from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from align_contracts import (
    ConfigError,
    LockedError,
    PreflightError,
    VerificationError,
    open_artifact,
    publish,
    store,
)


def snapshot(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def report(path, **kwargs):
    return publish(path, "report", producer="align-contracts", config=kwargs.pop("config", {}), **kwargs)


def test_publish_and_open(tmp_path, details):
    rows = [{"prompt_id": "a", "n": 1.5}, {"prompt_id": "b", "n": None}]
    target = tmp_path / "new" / "data"  # the parent does not exist yet
    with publish(target, "dataset", producer="align-contracts", config={"seed": 42}) as draft:
        assert draft.dir.parent == target.parent
        draft.write_jsonl("rows.jsonl", rows, role="rows")
        draft.metric("rows", 2)
        draft.seeds = [42]
        draft.details = details["dataset"]
    art = open_artifact(target, "dataset", deep=True)
    assert art.read_jsonl("rows") == rows
    assert art.metric("rows") == 2.0
    assert art.details.split_seed == 42
    assert set(snapshot(target)) == {"manifest.json", "manifest.sha256", "rows.jsonl"}
    assert [p.name for p in target.parent.iterdir()] == ["data"]  # no lock, no temporary directory


class Spoken(BaseModel):
    seed: int = 42
    quiet: bool = False


@pytest.mark.parametrize("quiet", [False, True])
def test_what_was_published_is_said_in_one_line(tmp_path, monkeypatch, capsys, quiet):
    monkeypatch.chdir(tmp_path)
    with report(Path("runs/r"), config=Spoken(quiet=quiet)) as draft:
        draft.details = {"runs": 1, "methods": {}}
        draft.summary = "win rate 0.6"
        assert capsys.readouterr().err == ""  # there is nothing yet
    digest = open_artifact("runs/r").content_digest[:12]
    line = f"published runs/r (report, digest {digest}): win rate 0.6\n"
    assert capsys.readouterr() == ("", "" if quiet else line)


def test_what_was_not_published_is_not_said(tmp_path, capsys):
    with pytest.raises(ConfigError), report(tmp_path / "r", config=Spoken()):
        pass  # no details
    assert capsys.readouterr().err == ""


def test_the_sidecar_is_what_sha256sum_checks(finished_run):
    data = (finished_run / "data" / "manifest.json").read_bytes()
    line = (finished_run / "data" / "manifest.sha256").read_text()
    assert line == f"{sha256(data).hexdigest()}  manifest.json\n"


def test_the_records_are_gathered(finished_run):
    raw = json.loads((finished_run / "sft" / "manifest.json").read_bytes())
    weights = (finished_run / "sft" / "adapter.safetensors").read_bytes()
    assert raw["files"][0] == {
        "path": "adapter.safetensors",
        "role": "adapter",
        "size": len(weights),
        "sha256": sha256(weights).hexdigest(),
        "volatile": False,
    }
    assert raw["tensors"] == [
        {"file": "adapter.safetensors", "name": "lora_a", "dtype": "F32", "shape": [1, 2]},
        {"file": "adapter.safetensors", "name": "lora_b", "dtype": "BF16", "shape": [2, 1]},
    ]
    base = open_artifact(finished_run / "base")
    assert raw["inputs"][0] == {
        "role": "base",
        "kind": "base_model",
        "name": "base",
        "content_digest": base.content_digest,
        "manifest_digest": base.manifest_digest,
        "source": "embedded",
        "revision": None,
        "license": "gemma",
    }
    assert raw["producer"]["package"] == "align-contracts"


def test_equal_reruns_have_equal_content_and_other_manifests(tmp_path, make, monkeypatch):
    class Config(BaseModel):
        seed: int = 1
        out: Path = Path("a")
        jobs: int = Field(1, json_schema_extra={"runtime": True})

    first = make(tmp_path / "a", "dataset", config=Config())
    second = make(tmp_path / "b", "dataset", config=Config(out=Path("b"), jobs=8))
    other = make(tmp_path / "c", "dataset", config=Config(seed=2))
    assert first.content_digest == second.content_digest != other.content_digest
    assert first.manifest_digest != second.manifest_digest
    assert second.raw["config"] == {"seed": 1}
    assert second.raw["runtime_config"] == {"out": "b", "jobs": 8}


def test_an_existing_artifact_stays_unless_asked(tmp_path, make):
    make(tmp_path / "x", "report", runs=1)
    before = snapshot(tmp_path)
    with pytest.raises(PreflightError, match="x exists"):
        make(tmp_path / "x", "report", runs=2)
    assert snapshot(tmp_path) == before
    assert make(tmp_path / "x", "report", runs=2, overwrite=True).details.runs == 2
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_nothing_but_an_artifact_is_ever_replaced(tmp_path, make):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "file", "link"):
        with pytest.raises(PreflightError):
            make(tmp_path / name, "report", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", "report")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_exception_leaves_what_was_there(tmp_path, make, error, overwrite):
    if overwrite:
        make(tmp_path / "x", "report")
    before = snapshot(tmp_path)
    with pytest.raises(error), report(tmp_path / "x", overwrite=overwrite) as draft:  # noqa: PT012
        draft.write_text("a.txt", "a", role="a")
        raise error
    assert snapshot(tmp_path) == before


def _nan(write_safetensors):
    return write_safetensors({"w": ("F32", [1], b"\x00\x00\xc0\x7f")})


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda draft, _: (draft.dir / "extra.txt").write_text("x"), "x/extra.txt: written but not declared"),
        (lambda draft, _: draft.file("a.txt", role="a"), "x/a.txt: declared but not written"),
        (lambda draft, _: (draft.dir / "empty").mkdir(), "x/empty: not listed"),
        (lambda draft, _: draft.file("a.txt", role="a").symlink_to("/etc/hosts"), "got a symbolic link"),
        (lambda draft, _: os.mkfifo(draft.file("a.txt", role="a")), "got a FIFO"),
        (lambda draft, _: draft.write_text("a.json", '{"a":1,"a":1}', role="a"), "x/a.json: the key 'a'"),
        (lambda draft, _: draft.write_text("a.jsonl", '{"a":NaN}\n', role="a"), "x/a.jsonl line 1"),
        (lambda draft, _: draft.write_text("a.txt", "PK\x03\x04", role="a"), "begins like a zip archive"),
        (lambda draft, _: draft.write_text("config.json", '{"auto_map":{"a":"b"}}', role="a"), "remote code"),
        (lambda draft, _: draft.write_text("a.safetensors", "{}", role="a"), "bad safetensors header"),
        (lambda draft, _: draft.write_text("a.SafeTensors", "{}", role="a"), "bad safetensors header"),
        (lambda draft, _: draft.write_text("Config.JSON", '{"model_file":"a"}', role="a"), "remote code"),
        (
            lambda draft, pack: draft.file("a.safetensors", role="a").write_bytes(_nan(pack)),
            "x/a.safetensors: tensor 'w' holds NaN",
        ),
    ],
)
def test_unfit_files_are_never_published(tmp_path, details, write_safetensors, fill, message):
    with pytest.raises(VerificationError, match=message), report(tmp_path / "x") as draft:  # noqa: PT012
        draft.details = details["report"]
        fill(draft, write_safetensors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda draft: None, "draft.details was not set"),
        (lambda draft: setattr(draft, "tokenizer_digest", "abc"), "tokenizer_digest"),
        (lambda draft: setattr(draft, "quantization", {"bits": 4}), r"quantization\.group_size: Field required"),
        (lambda draft: setattr(draft, "seeds", ["42"]), r"seeds\.0"),
        (lambda draft: draft.extensions.update(x=float("nan")), r"extensions\.x: expected a finite number"),
        (lambda draft: draft.extensions.update(x={1}), r"extensions\.x: expected a JSON value, got set"),
    ],
)
def test_unfit_values_are_never_published(tmp_path, details, fill, message):
    with pytest.raises(ConfigError, match=message), report(tmp_path / "x") as draft:  # noqa: PT012
        if "details" not in message:
            draft.details = details["report"]
        fill(draft)
    assert list(tmp_path.iterdir()) == []


def test_details_must_not_name_files_that_are_not_there(tmp_path, details):
    with (
        pytest.raises(VerificationError, match=r"'adapter\.safetensors', which is not listed"),
        publish(tmp_path / "x", "policy", producer="align-contracts", config={}) as draft,
    ):
        draft.details = details["policy"]


def test_bad_arguments_fail_before_any_work(tmp_path, finished_run):
    data = open_artifact(finished_run / "data")
    for kind, config, inputs, error in (
        ("poem", {}, {}, VerificationError),
        ("report", {"rate": float("nan")}, {}, ConfigError),
    ):
        with pytest.raises(error), publish(tmp_path / "x", kind, producer="a", config=config, inputs=inputs):
            raise AssertionError("never reached")
    with (
        pytest.raises(VerificationError, match="input 'base': expected base_model, got dataset"),
        publish(tmp_path / "x", "report", producer="a", config={}, inputs={"base": data}) as draft,
    ):
        draft.details = {"runs": 0, "methods": {}}
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_told_at_once(tmp_path, details):
    with report(tmp_path / "x") as draft:
        draft.details = details["report"]
        with pytest.raises(LockedError), report(tmp_path / "x", overwrite=True):
            pass
    open_artifact(tmp_path / "x")


def test_the_manifest_comes_last_and_everything_is_synced(tmp_path, details, monkeypatch):
    events = []
    real_sync, real_tree, real_place = store.sync, store.sync_tree, store.put_in_place
    monkeypatch.setattr(store, "sync", lambda path: (events.append(path.name), real_sync(path)))
    monkeypatch.setattr(
        store,
        "sync_tree",
        lambda root: (events.append(sorted(p.name for p in root.iterdir())), real_tree(root)),
    )
    monkeypatch.setattr(store, "put_in_place", lambda a, b: (events.append("rename"), real_place(a, b)))
    with report(tmp_path / "x") as draft:
        draft.details = details["report"]
        draft.write_text("a.txt", "a", role="a")
        temp = draft.dir.name
    assert events == [["a.txt"], "manifest.json", "manifest.sha256", temp, "rename"]


def test_a_killed_writer_leaves_no_trace_after_the_next_one(tmp_path, make):
    make(tmp_path / "x", "report", runs=1)
    pid = os.fork()
    if pid == 0:
        with report(tmp_path / "x", overwrite=True) as draft:
            draft.write_text("a.txt", "a", role="a")
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
    os.waitpid(pid, 0)
    assert len(list(tmp_path.iterdir())) > 1  # its lock file and temporary directory
    assert open_artifact(tmp_path / "x").details.runs == 1
    make(tmp_path / "x", "report", runs=2, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert open_artifact(tmp_path / "x").details.runs == 2


def _publish_once(target, number, results):
    try:
        with publish(target, "report", producer="a", config={"writer": number}) as draft:
            draft.details = {"runs": number, "methods": {}}
            draft.write_text("a.txt", str(number) * 1000, role="a")
        results.put(number)
    except PreflightError:  # LockedError is one of them
        results.put(None)


def test_of_several_writers_exactly_one_wins(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    for number in range(3):
        target = tmp_path / f"x{number}"
        writers = [context.Process(target=_publish_once, args=(target, i, results)) for i in range(4)]
        for writer in writers:
            writer.start()
        winners = [found for _ in writers if (found := results.get(timeout=60)) is not None]
        for writer in writers:
            writer.join()
        assert len(winners) == 1
        assert open_artifact(target, deep=True).details.runs == winners[0]
    assert len(list(tmp_path.iterdir())) == 3
