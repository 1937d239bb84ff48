"""The examples of docs/extending.md: applied to a copy of the sources, tested, and used by their commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from align_contracts import open_artifact
from documents import ways
from documents.pages import ROOT, blocks, examples
from documents.world import World

PAGE = ROOT / "docs" / "extending.md"


def changed(tree: Path) -> None:
    """Make a copy of the sources and change it as the page says."""
    for home in (ROOT / "contracts/src", *ROOT.glob("packages/*/src")):
        shutil.copytree(home, tree / home.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(PAGE):
        if block.language == "diff":
            git = ["git", "apply", "--whitespace=nowarn", "-"]
            done = subprocess.run(git, cwd=tree, input=block.text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block.page}:{block.line} does not fit the sources:\n{done.stderr}"
        elif block.language in ("python", "toml"):
            name, text = block.text.split("\n", 1)
            file = tree / name.removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


def test_every_example_fits_the_sources_and_does_what_the_page_says(chain: World, tmp_path: Path) -> None:
    tree, world = tmp_path / "tree", World(tmp_path / "world", chain)
    tree.mkdir()
    changed(tree)
    homes = [str(path) for path in (tree / "contracts/src", *tree.glob("packages/*/src"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(homes)}
    given = 0
    for example in examples(PAGE):
        script, *arguments = example.words
        if script == "pytest":
            command, cwd = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments], tree
        elif script.startswith("align-"):
            if script in ("align-rl", "align-data"):
                arguments += ["--config", "recipes/embedded.toml"]
            module = f"{script.replace('-', '_')}.cli"
            command = [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())", *arguments]
            cwd = world.folder
        else:
            assert script in ways.SHELL
            command, cwd = ["bash", "-c", example.command], world.folder
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{example.where}: {shlex.join(command)}\n{done.stdout}{done.stderr}"
        given += 1
    assert given == 11
    assert open_artifact(world.folder / "runs/cispo-42").manifest.config["loss_type"] == "cispo"
    assert open_artifact(world.folder / "runs/judgments-shorter").details.judge == "shorter"
    assert open_artifact(world.folder / "runs/hh").details.source == "hh:hh"
    best, ours, theirs = (
        [row["reward"] for row in open_artifact(world.folder / f"runs/responses-{name}").read_jsonl("responses")]
        for name in ("best", "ppo-42", "sft")
    )
    assert best == [max(pair) for pair in zip(ours, theirs, strict=True)]
