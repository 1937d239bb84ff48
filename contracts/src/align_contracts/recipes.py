"""The recipes that come with align, for those who have a package and no repository.

`recipe_files` is the repository's `recipes/` itself, by a link: a wheel has the files.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from align_contracts.errors import PreflightError

__all__ = ["recipes", "write_recipes"]


def recipes() -> dict[str, str]:
    """The text of every recipe by the name of its file; its first line is a comment that says what it is for."""
    files = (resources.files("align_contracts") / "recipe_files").iterdir()
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(files, key=lambda one: one.name)}


def write_recipes(folder: Path) -> list[Path]:
    """Write every recipe into a directory, which is made if need be.

    Raises:
        PreflightError: A file of a recipe's name is there and holds something else. Nothing is written then.
    """
    found = {folder / name: text.encode() for name, text in recipes().items()}
    for path, data in found.items():
        if path.is_symlink() or (path.exists() and not (path.is_file() and path.read_bytes() == data)):
            raise PreflightError(
                f"{path} is there already, and is not the recipe as it comes", do="Name another directory with --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in found.items():
        if not path.exists():
            path.write_bytes(data)
    return list(found)
