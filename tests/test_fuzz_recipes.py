"""Whatever a recipe, an override or a path holds, a console script ends with 0 or one clear error: never a traceback.

All commands of all scripts, called in this process through their real entry points. Recipes are resolved with
``--show-config``, so that a recipe that happens to be right starts no training; hostile paths are given to the commands
themselves.
"""

import contextlib
import importlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import console
from align_contracts.console import SECTIONS
from align_contracts.console.fields import flags_of
from fuzzing import bounded, examples, mutated

ROOT = Path(__file__).parents[1]
STAGES = ("contracts", "data", "sft", "rm", "rl", "eval")
COMMANDS = [
    (f"align-{stage}", command)
    for stage in STAGES
    for command in importlib.import_module(f"align_{stage}.cli").COMMANDS
]
IDS = [f"{script} {command.name}" for script, command in COMMANDS]
WITH_SECTIONS = [(script, command) for script, command in COMMANDS if command.sections]
WITH_PATHS = [(s, c) for s, c in COMMANDS if any(flag.metavar == "PATH" for flag in flags_of(c.config))]
RECIPES = sorted(ROOT.glob("recipes/*.toml"))

VALUES = st.one_of(
    st.integers(-3, 10**6).map(str),
    st.floats().map(lambda number: repr(number).replace("e+", "e")),  # nan and inf are TOML
    st.sampled_from(
        [
            "true",
            "''",
            "'none'",
            '"a\\u0000b"',
            '"\\u001b[31m"',
            "1979-05-27",
            "07:32:00",
            "0x7f",
            "-0.0",
            "1e999",
            "-nan",
        ]
    ),
    st.sampled_from(["[]", "{}", "[[1], 'a']", "{a = {b = 1}}", "[{a = 1}]", "{a.b.c = 1}", "'''\n'''"]),
    st.sampled_from(
        ["9" * 5000, "[" * 3000 + "]" * 3000, "{" + ".".join("a" * 2000) + " = 1}", "'" + "x" * 10**5 + "'"]
    ),
    st.text("abc,.-=é\u202e\U0001f600", max_size=12).map(lambda text: f"'{text}'"),
)
KEYS = st.sampled_from(["lora", "seed", "a.b", "'quoted key'", "out", "data", "x" * 300])


@st.composite
def recipes(draw, command):
    """A recipe for a command: its own sections and keys for the most part, values of every kind."""
    own = sorted(flag.key for flag in flags_of(command.config))
    lines = []
    for section in draw(
        st.lists(st.sampled_from([*command.sections, *SECTIONS, "poem", "a.b"]), max_size=3, unique=True)
    ):
        lines.append(f"[{section}]")
        keys = draw(st.lists(st.sampled_from(own) | KEYS, max_size=4, unique=True))
        lines += [f"{key} = {draw(VALUES)}" for key in keys]
    return "\n".join(lines).encode()


def call(script, command, *arguments):
    """Run a command in this process; return its exit code after checking what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), bounded():
        code = console.main(script, "", [command], [command.name, *arguments])
    said = err.getvalue()
    assert "Traceback" not in said
    assert all(line.isprintable() for line in said.split("\n"))
    assert "error: " in said if code else "error: " not in said
    return code


@pytest.fixture
def place(tmp_path):
    """A directory with one of everything that is not what a command wants."""
    path = tmp_path / "fuzz"
    path.mkdir()
    (path / "file").write_text("text")
    (path / "folder").mkdir()
    (path / "folder" / "thesis.tex").write_text("mine")
    (path / "broken").mkdir()
    (path / "broken" / "manifest.json").write_text("{")
    (path / "loop").symlink_to(path / "loop")
    (path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    return path


@pytest.mark.parametrize(("script", "command"), WITH_SECTIONS, ids=[f"{s} {c.name}" for s, c in WITH_SECTIONS])
def test_random_recipes(script, command, place):
    @examples(25)
    @given(recipes(command))
    def check(data):
        (place / "r.toml").write_bytes(data)
        assert call(script, command, "--config", str(place / "r.toml"), "--show-config") in (0, 2)

    check()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_mutated_recipes(recipe, place):
    @examples(60)
    @given(mutated(recipe.read_bytes()), st.sampled_from(WITH_SECTIONS))
    def check(data, which):
        (place / "r.toml").write_bytes(data)
        assert call(*which, "--config", str(place / "r.toml"), "--show-config") in (0, 2)

    check()


@pytest.mark.parametrize(("script", "command"), COMMANDS, ids=IDS)
def test_random_overrides(script, command):
    keys = st.sampled_from([flag.key for flag in flags_of(command.config)])

    @examples(20)
    @given(st.lists(st.tuples(keys | KEYS | st.text(max_size=5), VALUES | st.text(max_size=8)), min_size=1, max_size=3))
    def check(pairs):
        overrides = [part for key, value in pairs for part in ("--set", f"{key}={value}")]
        assert call(script, command, *overrides, "--show-config") in (0, 2)

    check()


@pytest.mark.parametrize("name", ["file", "folder", "loop", "binary.toml", "absent.toml", "x" * 300, "", "/dev/zero"])
def test_a_recipe_that_is_no_recipe(place, name):
    for script, command in WITH_SECTIONS:
        assert call(script, command, "--config", os.path.join(place, name), "--show-config") == 2


@pytest.mark.parametrize("hostile", ["file", "folder", "broken", "loop", "absent", "x" * 300, "file/below", "\udcff"])
@pytest.mark.parametrize(("script", "command"), WITH_PATHS, ids=[f"{s} {c.name}" for s, c in WITH_PATHS])
def test_hostile_paths(script, command, place, hostile):
    """Every setting that is a path leads to the same wrong place; nothing there is changed."""
    path = os.path.join(place, hostile)
    given_paths = []
    for flag in flags_of(command.config):
        if flag.metavar == "PATH" and flag.positional:
            given_paths.append(path)
        elif flag.metavar == "PATH":
            given_paths.append(f"{flag.names[0]}={path}")
    more = [text.replace("PATH", path) for text in MORE.get((script, command.name), ())]
    fits = hostile in FITTING.get((script, command.name), ())
    assert call(script, command, *given_paths, *more) in ((0,) if fits else (2, 3, 6))
    assert (place / "folder" / "thesis.tex").read_text() == "mine"
    assert sorted(one.name for one in place.iterdir()) == sorted({*THERE, *([hostile] if fits else [])})


MORE = {
    ("align-rl", "watch"): ("--once",),
    ("align-sft", "base"): ("--embedded",),
    ("align-data", "build"): ("--source=PATH",),
}
"""What a command needs beside its paths to get as far as opening them."""
FITTING = {("align-contracts", "recipes"): ("folder", "broken", "absent", "\udcff")}
"""Where a command that adds files to a directory of the user's may put them."""
THERE = sorted(["file", "folder", "broken", "loop", "binary.toml"])
