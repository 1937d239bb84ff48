"""What each package says of itself, and what is in what is built of it; `nox -s packages` installs each alone."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEMBERS = [ROOT / "contracts", *sorted((ROOT / "packages").iterdir())]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
each_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)


@each_member
def test_every_package_says_what_an_index_shows(member):
    whole = tomllib.loads((member / "pyproject.toml").read_text())
    project = whole["project"]
    assert (project["version"], project["license"], project["readme"]) == (VERSION, "MIT", "README.md")
    assert project["requires-python"] == ">=3.11"
    assert (member / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (member / "README.md").read_text().startswith(f"# {project['name']}\n")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} < set(project["classifiers"])
    assert (member / "src" / project["name"].replace("-", "_") / "py.typed").is_file()
    assert whole["tool"]["hatch"]["build"]["targets"]["sdist"] == {"only-include": ["src"]}  # no tests, no caches


@each_member
def test_packages_of_one_release_go_together(member):
    needs = tomllib.loads((member / "pyproject.toml").read_text())["project"]["dependencies"]
    series = ".".join(VERSION.split(".")[:2])
    assert all(need.endswith(f"=={series}.*") for need in needs if need.startswith("align-"))


def test_the_lock_is_for_every_python_that_is_promised():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    assert lock["requires-python"] == ">=3.11"
