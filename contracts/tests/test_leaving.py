"""What leaves the store: whole or not at all, over nothing but an earlier export, and told when it comes back."""

import hashlib
import json

import pytest

from align_contracts import open_artifact, publish
from align_contracts.errors import PreflightError, VerificationError
from align_contracts.leaving import RECORD, Descent, descent, leave, read_record


@pytest.fixture
def source(tmp_path):
    with publish(tmp_path / "data", "dataset", producer="align-data", config={}) as draft:
        draft.details = {
            "source": "hf:maker/data",
            "revision": "0a1b2c",
            "license": "CC-BY-4.0",
            "split_seed": 1,
            "counts": {},
            "categories": {},
            "formats": [],
            "has_checks": False,
        }
    return open_artifact(tmp_path / "data")


def export(source, path, text="hello", **kw):
    with leave(path, producer="align-data", form="text", source=source, facts={"lines": 1}, **kw) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)
    return path


def test_the_record_says_where_it_comes_from(source, tmp_path):
    record = read_record(export(source, tmp_path / "out"))
    assert (record["form"], record["lines"], record["producer"]["package"]) == ("text", 1, "align-data")
    assert record["source"] == {"kind": "dataset", "name": "data", "content_digest": source.content_digest}
    assert record["files"] == {"sub/a.txt": hashlib.sha256(b"hello").hexdigest()}
    assert read_record(tmp_path) is None


def test_what_comes_back_keeps_source_and_licence(source, tmp_path):
    out = export(source, tmp_path / "out")
    was = Descent("hf:maker/data", "0a1b2c", "CC-BY-4.0"), read_record(out)["source"]
    assert descent(out) == descent(out / "sub") == descent(source.path) == was
    (out / "mine").mkdir()  # a folder that was not exported says nothing
    (tmp_path / "mine").mkdir()
    assert descent(out / "mine") == descent(tmp_path / "mine") == (Descent(), None)
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert descent(tmp_path / "mine") == (Descent(license="mit"), None)


@pytest.mark.parametrize("origin", [None, [], {"source": 3, "license": "mit", "more": "x"}])
def test_of_a_record_by_somebody_else_only_texts_are_taken(source, tmp_path, origin):
    out = export(source, tmp_path / "out")
    record = json.loads((out / RECORD).read_text())
    (out / RECORD).write_text(json.dumps({**record, "origin": origin, "source": 1}))
    assert descent(out) == (Descent(license="mit" if isinstance(origin, dict) else None), {})


def test_a_failed_export_leaves_nothing(source, tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        leave(tmp_path / "new" / "out", producer="align-data", form="text", source=source),
    ):
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []


def test_only_an_export_is_replaced_and_only_when_asked(source, tmp_path):
    out = export(source, tmp_path / "out")
    with pytest.raises(PreflightError, match="exists"):
        export(source, out, "again")
    assert (out / "sub" / "a.txt").read_text() == "hello"
    export(source, out, "again", overwrite=True)
    assert (out / "sub" / "a.txt").read_text() == "again"
    for mine in ("folder", "data"):  # somebody's files, and an artifact
        (tmp_path / mine).mkdir(exist_ok=True)
        (tmp_path / mine / "mine.txt").write_text("mine")
        with pytest.raises(PreflightError, match="left alone"):
            export(source, tmp_path / mine, overwrite=True)
        assert (tmp_path / mine / "mine.txt").read_text() == "mine"
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(PreflightError, match="is no directory"):
        export(source, tmp_path / "link", overwrite=True)


@pytest.mark.parametrize("damage", ["changed", "missing", "no record", "no json"])
def test_a_changed_export_is_told(source, tmp_path, damage):
    out = export(source, tmp_path / "out")
    if damage == "changed":
        (out / "sub" / "a.txt").write_text("hullo")
    elif damage == "missing":
        (out / "sub" / "a.txt").unlink()
    else:
        (out / RECORD).write_text(json.dumps([1]) if damage == "no record" else "{")
    with pytest.raises(VerificationError):
        read_record(out)
