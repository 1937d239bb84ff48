from pathlib import Path

import pytest

from align_contracts.cli import main
from align_contracts.console.recipe import read_recipe
from align_contracts.errors import MissingError, PreflightError
from align_contracts.recipes import recipes, write_recipes

HERE = Path(__file__).parents[2] / "recipes"


def test_the_package_has_the_repository_s_recipes(tmp_path):
    written = write_recipes(tmp_path / "new/recipes")
    assert [path.name for path in written] == sorted(path.name for path in HERE.glob("*.toml"))
    assert all(path.read_bytes() == (HERE / path.name).read_bytes() for path in written)


def test_a_second_time_changes_nothing_and_what_somebody_has_changed_is_kept(tmp_path):
    first, *_, last = write_recipes(tmp_path)
    write_recipes(tmp_path)
    first.unlink()
    last.write_text("[rl]\nseed = 1\n")
    with pytest.raises(PreflightError, match=rf"{last.name} is there already"):
        write_recipes(tmp_path)
    assert last.read_text() == "[rl]\nseed = 1\n"
    assert not first.exists()  # all or nothing


def test_a_link_to_nowhere_is_not_followed(tmp_path):
    name = next(iter(recipes()))
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PreflightError, match="is there already"):
        write_recipes(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_the_command_says_what_each_recipe_is_for(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["align-contracts", "recipes"])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(recipes())
    assert all(len(line.split()) > 5 and "#" not in line for line in lines)
    monkeypatch.setattr("sys.argv", ["align-contracts", "recipes", "--out", str(tmp_path)])
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in recipes()]


def test_whoever_has_no_recipe_is_told_how_to_get_one(tmp_path):
    with pytest.raises(MissingError, match="align-contracts recipes --out recipes"):
        read_recipe(tmp_path / "recipes/embedded.toml")
