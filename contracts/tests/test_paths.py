import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import VerificationError, paths
from align_contracts.paths import check_collisions, check_relative, list_tree, open_inside, printable

ATTACKS = [
    "",
    "/",
    "/etc/passwd",
    "//server/share",
    "..",
    ".",
    "../x",
    "a/../b",
    "a/..",
    "a/./b",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "C:\\x",
    "C:/x",
    "c:x",
    "a:b.txt",
    "a\0b",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x1b[31mred",
    "a\x7fb",
    "a\u202eb",  # right-to-left override
    "a\u200bb",  # zero-width space
    "\ufeffa",
    "a\ud800b",  # lone surrogate
    "a\ue000b",  # private use
    " a",
    "a ",
    "a/ b",
    "a .",
    "a.",
    "a/b./c",
    "e\u0301.txt",  # not NFC
    "\u212b.txt",  # the ångström sign: its NFC is another character
    "x" * 256,
    "é" * 128,  # 256 bytes
    "/".join(["x" * 200] * 6),  # above 1024 bytes
    "manifest.json",
    "MANIFEST.JSON",
    "manifest.sha256",
    "a.py",
    "a.PY",
    "x/a.pyc",
    "setup.so",
    "lib.dylib",
    "a.pkl",
    "a.pickle",
    "model.pt",
    "model.pth",
    "model.bin",
    "x.ckpt",
    "x.npy",
    "x.npz",
    "x.h5",
    "x.zip",
    "x.tar.gz",
    "run.sh",
    "a.whl",
    "a.egg",
    "x.joblib",
]


@pytest.mark.parametrize("path", ATTACKS, ids=ascii)
def test_unsafe_paths_are_refused_in_printable_words(path):
    with pytest.raises(VerificationError, match="unsafe path") as caught:
        check_relative(path)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["a", "a/b.json", "ä/é.txt", "eval/0050.safetensors", ".hidden", "日本.md", "x" * 255])
def test_safe_paths_pass(path):
    assert check_relative(path) == path


@given(st.text(max_size=20))
def test_whatever_passes_stays_inside(path):
    try:
        check_relative(path)
    except VerificationError:
        return
    full = os.path.normpath(os.path.join("/root", path))
    assert full == f"/root/{path}"
    assert unicodedata.is_normalized("NFC", path)
    path.encode()


@pytest.mark.parametrize(
    "names",
    [
        ["a", "a"],
        ["a", "A"],
        ["straße", "STRASSE"],
        ["x/a", "X/b"],
        ["a", "a/b"],
        ["a/b", "A"],
        ["ǆ", "Ǆ"],
    ],
)
def test_collisions(names):
    for order in (names, names[::-1]):
        with pytest.raises(VerificationError, match="collide"):
            check_collisions(order)


def test_no_collision():
    check_collisions(["a", "b", "x/a", "x/b", "x/y/a", "ab/a"])


def test_open_inside_never_follows_a_link(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a").write_bytes(b"inside")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"outside")
    with open_inside(root, "sub/a") as file:
        assert file.read() == b"inside"
    (root / "link").symlink_to(tmp_path / "out" / "a")
    (root / "folder").symlink_to(tmp_path / "out")
    os.mkfifo(root / "fifo")
    for path in ("link", "folder/a", "fifo", "sub", "absent"):
        with pytest.raises(VerificationError, match=f"root/{path}"):
            open_inside(root, path)


def test_open_inside_leaves_no_descriptor_open(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        with pytest.raises(VerificationError):
            open_inside(tmp_path, "a/b/absent")
        with pytest.raises(VerificationError):
            open_inside(tmp_path, "a/b")
    assert len(os.listdir("/dev/fd")) == before


def test_list_tree(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"123")
    os.link(tmp_path / "a" / "x", tmp_path / "y")  # a second name inside the tree does no harm
    tree = list_tree(tmp_path)
    assert {path: info.st_size for path, info in tree.files.items()} == {"a/x": 3, "y": 3}
    assert tree.folders == {"a", "a/b"}
    monkeypatch.setattr(paths, "MAX_FILES", 1)  # at most 2 × 1 entries; there are 4
    with pytest.raises(VerificationError, match="too many files"):
        list_tree(tmp_path)


def test_list_tree_never_follows_a_folder_that_becomes_a_link(tmp_path, monkeypatch):
    """Between the look at a folder and the opening of it, somebody puts a link to elsewhere in its place."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("x")
    real_open, real_scandir, listed = os.open, os.scandir, []

    def swapping(name, *arguments, **named):
        if name == "sub":
            (root / "sub").rmdir()
            (root / "sub").symlink_to(outside)
        return real_open(name, *arguments, **named)

    def spying(folder):
        listed.append(os.fstat(folder).st_ino)
        return real_scandir(folder)

    monkeypatch.setattr(paths.os, "open", swapping)
    monkeypatch.setattr(paths.os, "scandir", spying)
    with pytest.raises(VerificationError, match="root/sub/: cannot be opened"):
        list_tree(root)
    assert listed == [root.stat().st_ino]


def test_a_path_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "MAX_PATH_BYTES", 10)
    (tmp_path / "abcde" / "fghij").mkdir(parents=True)  # 11 bytes with the slash
    with pytest.raises(VerificationError, match=r"abcde/fghij…: its path is too long"):
        list_tree(tmp_path)


def test_a_name_that_is_not_utf8_is_refused_and_can_be_printed(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"a\xff")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system stores UTF-8 names only")
    with pytest.raises(VerificationError, match=r"a\\udcff: its name is not UTF-8"):
        list_tree(tmp_path)


def test_printable():
    assert printable("a\x1b[31m\n\ud800é") == r"a\x1b[31m\n\ud800é"
