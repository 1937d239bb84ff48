"""The rules of the architecture about who imports what, executed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES = sorted(
    path.parent.name for path in [*ROOT.glob("contracts/src/*/__init__.py"), *ROOT.glob("packages/*/src/*/__init__.py")]
)
STAGES = [name for name in PACKAGES if name not in ("align_contracts", "align_mlx")]


def loaded_by(statement: str) -> tuple[set[str], str]:
    """Return the top-level modules that a fresh interpreter has after a statement, and what it printed."""
    code = f"{statement}\nimport sys\nprint('#', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed, _, names = done.stdout.rpartition("#")
    return set(names.split()), printed + done.stderr


def test_import_linter_keeps_every_contract():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_its_contracts_know_every_package_and_every_folder_of_algorithms():
    assert sorted(CONFIG["root_packages"]) == PACKAGES
    layers = next(one["layers"] for one in CONFIG["contracts"] if one["type"] == "layers")
    assert sorted(name for layer in layers for name in layer.split(" | ")) == PACKAGES
    folders = {f"{path.parent.name}.algorithms" for path in ROOT.glob("packages/*/src/*/algorithms")}
    pure = next(one["source_modules"] for one in CONFIG["contracts"] if one["name"].startswith("Algorithms"))
    assert set(pure) == folders


def test_contracts_load_neither_mlx_nor_numpy():
    loaded, _ = loaded_by("import align_contracts, align_contracts.cli, align_contracts.console")
    assert not loaded & {"mlx", "numpy", "safetensors", "rich"}


@pytest.mark.parametrize("stage", STAGES)
def test_importing_a_stage_s_command_line_runs_nothing(stage):
    loaded, printed = loaded_by(f"import {stage}.cli")
    assert printed == ""
    assert not loaded & {"transformers", "datasets", "matplotlib", "openai"}  # seconds each, for a page of help


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "align_data"])
def test_the_fast_blas_is_loaded_before_mlx(stage):
    _, printed = loaded_by(f"import {stage}.cli, align_mlx; print(align_mlx.BLAS)")
    assert printed.strip() != "already imported"


def test_the_fast_blas_does_not_stand_in_scipy_s_way():
    loaded_by("import align_mlx, scipy.special, scipy.linalg")  # raises if a symbol is missing
