from pathlib import Path

import pytest

import console_example as example
from align_contracts.console.fields import flags_of
from align_contracts.console.recipe import Settings, parse_set, read_recipe, toml_value
from align_contracts.errors import ConfigError, MissingError


def settings() -> Settings:
    return Settings("align-x train", flags_of(example.Train), ("rl", "ppo"))


def write(tmp_path, text):
    path = tmp_path / "embedded.toml"
    path.write_text(text)
    return path


def test_sections_are_merged_in_order_and_others_are_ignored(tmp_path):
    got = settings()
    got.add_recipe(write(tmp_path, "[rl]\nK = 3\nbits = 8\n[ppo]\nK = 4\n[ppo.lora]\nrank = 2\n[grpo]\nother = 1\n"))
    assert got.nested() == {"K": 4, "bits": 8, "lora": {"rank": 2}}


def test_a_table_field_is_taken_whole(tmp_path):
    got = settings()
    got.add_recipe(write(tmp_path, "[rl.weights]\na = 1.5\n"))
    assert got.nested() == {"weights": {"a": 1.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rl]\nlerning_rate = 1\n", "unknown key 'lerning_rate' in [rl]. Did you mean learning_rate?"),
        ("[ppo.lora]\nrnk = 1\n", "unknown key 'lora.rnk' in [ppo]. Did you mean lora.rank?"),
        ("[rl]\nqqq = 1\n", "unknown key 'qqq' in [rl]. 'align-x train --help' lists the settings"),
        ("[judgee]\n", "unknown section [judgee]. Did you mean judge?"),
        ("[zz]\n", "unknown section [zz]. Sections: data, base,"),
        ("K = 3\n", "'K' stands outside any section. Move it under a [section]"),
        ("[rl\n", "is not TOML: got"),
    ],
)
def test_mistakes_in_a_recipe(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        settings().add_recipe(write(tmp_path, text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = " + "[" * 5000, "is not TOML"),  # the parser gives up with a RecursionError
        ("[rl]\nK = " + "9" * 5000, "is not TOML"),  # … and with a bare ValueError
        (
            "[rl]\nK = {" + ".".join("a" * 3000) + " = 1}",
            "--K (FILE [rl]): nested too deep: expected at most 32 levels",
        ),
        ('[rl]\nlabel = "a\\u0000b"', "--label (FILE [rl]): a text with a NUL character"),
        ('[rl]\nkl_targets = [1, "\\u0000"]', "--kl-targets (FILE [rl]): a text with a NUL character"),
        ('[rl.weights]\n"a\\u0000" = 1.0', "--weights (FILE [rl]): a text with a NUL character"),
        ("#" * (2**20 + 1), "too large for a recipe: expected at most 1048576 bytes"),
    ],
    ids=["lists", "digits", "dotted", "NUL", "NUL in a list", "NUL in a key", "1 MiB"],
)
def test_hostile_recipes(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        settings().add_recipe(path)
    assert message.replace("FILE", str(path)) in str(caught.value)


def test_a_recipe_that_is_not_text(tmp_path):
    path = tmp_path / "r.toml"
    path.write_bytes(b"[rl]\nlabel = '\xff'\n")
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(path)


def test_a_missing_recipe_suggests_one_beside_it(tmp_path):
    path = write(tmp_path, "")
    with pytest.raises(MissingError, match=r"Did you mean .*embedded\.toml"):
        read_recipe(tmp_path / "embeded.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_recipe(tmp_path)
    assert read_recipe(path) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("embedded", "Did you mean recipes/embedded.toml? "),  # though mine.toml and notes.md lie here
        ("embedded.toml", "Did you mean recipes/embedded.toml? "),
        ("recipe/embedded", "Did you mean recipes/embedded.toml? "),
        ("recipes/embeded.toml", "Did you mean recipes/embedded.toml? "),
        ("main.toml", "Did you mean mine.toml? "),
        ("zzz", "In recipes there is embedded.toml. "),
        ("other/zzz", "In other there is yours.toml. "),
    ],
)
def test_a_missing_recipe_suggests_recipes_only(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "notes.md", "recipes/embedded.toml", "recipes/notes.md", "other/yours.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(MissingError) as refusal:
        read_recipe(Path(given))
    written = "`align-contracts recipes --out recipes` writes the recipes that come with align"
    assert str(refusal.value) == f"there is no recipe {given}. {said}{written}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("5e-6", 5e-6),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("a word", "a word"),
        ("", ""),
        ("1\nx = 2", "1\nx = 2"),  # one value, never a second key
    ],
)
def test_toml_value(text, value):
    assert toml_value(text) == value


@pytest.mark.parametrize(
    ("text", "nested"),
    [
        ("K=3", {"K": 3}),
        ("num-iterations = 3", {"num_iterations": 3}),
        ("rl.num_iterations=2", {"num_iterations": 2}),
        ("ppo.lora.rank=2", {"lora": {"rank": 2}}),
        ("kl_targets=0.1,0.2", {"kl_targets": ["0.1", "0.2"]}),
        ("kl_targets=[0.1]", {"kl_targets": [0.1]}),
        ("max_norm=none", {"max_norm": None}),
        ("label=8", {"label": "8"}),  # a text field keeps text
        ("label='a b'", {"label": "a b"}),
    ],
)
def test_set(text, nested):
    got = settings()
    got.add_set(text)
    assert got.nested() == nested


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k=3", "--set: unknown key 'k'. Did you mean K?"),
        ("grpo.K=3", "--set grpo.K: align-x train does not read [grpo]: expected [rl], [ppo]"),
        ("K", "--set needs key=value: got 'K'"),
        ("=3", "--set needs key=value: got '=3'"),
    ],
)
def test_mistakes_in_set(text, message):
    with pytest.raises(ConfigError) as caught:
        settings().add_set(text)
    assert str(caught.value) == message


def test_parse_set_keeps_what_follows_the_first_equals():
    assert parse_set("a.b=c=d") == ("a.b", "c=d")


@pytest.mark.parametrize(("given", "taken"), [(1, [1]), ("1", ["1"]), ([1, 2], [1, 2]), ("1,2", ["1", "2"]), ("", [])])
def test_a_list_is_a_list_of_one_where_one_is_given(given, taken):
    """As TOML and as text: a recipe's ``kl_targets = 1`` and ``--set kl_targets=1`` are no slips."""
    values = settings()
    values.put(next(flag for flag in values.flags.values() if flag.key == "kl_targets"), given, "")
    assert values.values["kl_targets",] == taken


def test_an_empty_path_is_not_the_directory_one_stands_in():
    values = settings()
    with pytest.raises(ConfigError, match="--sft: expected a path, got nothing"):
        values.put(next(flag for flag in values.flags.values() if flag.key == "sft"), "", "--sft")
