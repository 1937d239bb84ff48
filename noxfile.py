"""Sessions: the checks (default) and the pipeline.

Run them with ``uv run nox``: uv makes the environment from the lock, and every session but ``isolated``, ``packages``,
``conformance-torch``, ``interop`` and ``notebooks`` uses it as it is, so no session waits for another environment.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.10"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint", "types", "imports"]

HERE = Path(__file__).parent
# What the project is held against. Exactly this PyTorch: it can be had without CUDA.
PEERS = ("torch==2.13.0", "transformers==5.23.*", "trl==1.16.*", "peft==0.21.*", "safetensors==0.8.*", "numpy==2.4.*")
RECEIVERS = ("datasets>=4", "tensorboard", "trackio", "wandb")
# Members of the workspace and the workspace packages that each needs.
STAGES = {
    "contracts": (),
    "packages/align-mlx": ("contracts",),
    "packages/align-data": ("contracts",),
    "packages/align-sft": ("contracts", "packages/align-mlx"),
    "packages/align-rm": ("contracts", "packages/align-mlx"),
    "packages/align-rl": ("contracts", "packages/align-mlx"),
    "packages/align-eval": ("contracts", "packages/align-mlx"),
}
TEST_TOOLS = ("pytest", "hypothesis")
INSTALLED = importlib.util.find_spec("align_contracts") is not None  # not so under `uvx nox`
PYTHON = (sys.executable,) if INSTALLED else ("uv", "run", "--frozen", "python")


def python(session, *arguments, **how):
    session.run(*PYTHON, *arguments, external=True, **how)


@nox.session
def tests(session):
    """The tests of every package and of what crosses them; arguments go to pytest."""
    python(session, "-m", "pytest", *session.posargs)


@nox.session
def lint(session):
    """Style and format (ruff)."""
    python(session, "-m", "ruff", "check")
    python(session, "-m", "ruff", "format", "--check")


@nox.session
def types(session):
    """Types of all sources (mypy)."""
    python(session, "-m", "mypy")


@nox.session
def imports(session):
    """The layers of the architecture (import-linter)."""
    python(session, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


@nox.session(venv_backend="uv", reuse_venv=False)
@nox.parametrize("stage", list(STAGES), ids=[Path(stage).name for stage in STAGES])
def isolated(session, stage):
    """Each package alone: a fresh environment with only what it asks for, and its tests."""
    locked = locked_versions(session)
    members = [part for member in (stage, *STAGES[stage]) for part in ("--editable", str(HERE / member))]
    session.install("--no-config", "--constraint", str(locked), *TEST_TOOLS, *members)
    session.run("python", "-m", "pytest", f"{stage}/tests", *session.posargs)


@nox.session(venv_backend="uv", reuse_venv=False)
def packages(session):
    """Wheels and source archives of all packages; each wheel installed alone, its script started: -- [NAME …]."""
    locked, scratch = locked_versions(session), Path(session.create_tmp()).resolve()
    dist = scratch / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for stage in STAGES:  # the source archive, and the wheel from it; then the wheel from the tree: the same bytes
        for into, how in ((dist, ()), (dist / "tree", ("--wheel",))):
            session.run("uv", "build", "--quiet", *how, "--out-dir", str(into), str(HERE / stage), external=True)
    for wheel in sorted(dist.glob("*.whl")):
        if wheel.read_bytes() != (dist / "tree" / wheel.name).read_bytes():
            session.error(f"{wheel.name}: the source archive makes another wheel than the tree")
    for stage, neighbours in STAGES.items():
        name = package_name(stage)
        if session.posargs and name not in session.posargs:
            continue
        wheels = [str(next(dist.glob(f"{package_name(one).replace('-', '_')}-*.whl"))) for one in (stage, *neighbours)]
        place, here = scratch / name, {"PYTHONPATH": "", "ALIGN_BLAS": "off"}
        session.run("uv", "venv", "--quiet", "--clear", str(place), external=True)
        install = (
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-config",
            "--python",
            str(place),
            "--constraint",
            str(locked),
        )
        session.run(*install, *wheels, external=True)
        bin = place / "bin"
        session.run(str(bin / "python"), "-I", "-c", f"import {name.replace('-', '_')}", external=True, env=here)
        recipes = (str(bin / "align-contracts"), "recipes", "--out", str(place / "recipes"))  # with every package
        session.run(*recipes, external=True, env=here)
        if (program := bin / name).exists():
            session.run(str(program), "--version", external=True, env=here)
            session.run(str(program), "--help", external=True, env=here, silent=True)


def package_name(stage):
    """Name what a member of the workspace is published as."""
    return "align-contracts" if stage == "contracts" else Path(stage).name


def locked_versions(session):
    """Write the versions of uv.lock as constraints, and give the file."""
    locked = Path(session.create_tmp()).resolve() / "locked.txt"
    export = ("uv", "export", "--frozen", "--all-groups", "--no-group", "cuda13", "--no-hashes", "--no-emit-workspace")
    session.run(*export, "--quiet", "--output-file", str(locked), external=True)
    return locked


@nox.session(name="conformance-torch", venv_backend="venv", reuse_venv=True)
def conformance_torch(session):
    """Our numbers beside those of PyTorch, transformers and TRL on the same weights: one table, and a verdict."""
    session.install(*PEERS)
    programs = HERE / "tests" / "conformance" / "torch"
    with tempfile.TemporaryDirectory() as run:
        # Two processes, two environments: MLX's BLAS and PyTorch's would share their symbols in one.
        python(session, f"{programs}/ours.py", run)
        session.run("python", "-W", "ignore", f"{programs}/theirs.py", run)
        python(session, f"{programs}/compare.py", run)


@nox.session(venv_backend="venv", reuse_venv=True)
def interop(session):
    """What leaves and comes in, by the programs themselves: mlx-lm, PEFT, transformers, datasets; a line each."""
    session.install(*(peer for peer in PEERS if not peer.startswith("trl")), *RECEIVERS)
    peers = str(Path(session.bin) / "python")
    python(session, "-m", "interop", peers, env={"PYTHONPATH": str(HERE / "tests")})


@nox.session
def mutants(session):
    """Classic bugs planted one at a time, and the conformance suite that kills each: nox -s mutants -- [NAME …]."""
    python(session, "-m", "mutants", *session.posargs, env={"PYTHONPATH": str(HERE / "tests")})


@nox.session
def simulate(session):
    """The report's statistics on studies whose truth is known: nox -s simulate -- [--studies N]; a few minutes."""
    python(session, "-m", "simulate", *session.posargs, env={"PYTHONPATH": str(HERE / "tests")})


@nox.session
def faults(session):
    """Kills, full disks, corrupt and hostile files: nox -s faults -- [NAME …] [--large] [--seed N]."""
    # Interrupted, it kills what its rows have started and removes their files before it ends.
    python(session, "-m", "faults", *session.posargs, env={"PYTHONPATH": str(HERE / "tests")}, interrupt_timeout=30)


@nox.session
def distributed(session):
    """SFT, reward model, PPO and GRPO by two processes of mlx.launch beside one; minutes."""
    python(session, "-m", "distributed", env={"PYTHONPATH": os.pathsep.join([str(HERE / "tests"), str(HERE)])})


@nox.session
def coverage(session):
    """Branches of store and checkpoints that their tests take, at least 95 %: nox -s coverage -- [GROUP …]."""
    python(session, "-m", "covered", *session.posargs, env={"PYTHONPATH": str(HERE / "tests")})


@nox.session
def pipeline(session):
    """The whole chain: nox -s pipeline -- [--recipe FILE] [--out DIR] [--seeds N,…] [--dry-run]; --help lists more."""
    # nox becomes the pipeline: signals reach it directly and once, and its exit code is the caller's, where nox has
    # only 0 and 1. So it is the last session of a call.
    session.log(" ".join(["python -m pipeline", *session.posargs]))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(PYTHON[0], [*PYTHON, "-m", "pipeline", *session.posargs])


@nox.session
def bench(session):
    """One benchmark, a table and a line of JSON: nox -s bench -- rl-iteration"""
    known = sorted(path.stem.replace("_", "-") for path in (HERE / "benchmarks").glob("*.py"))
    if not session.posargs or session.posargs[0] not in known:
        session.error(f"name one of: {', '.join(known)}")
    file = session.posargs[0].replace("-", "_") + ".py"
    python(session, f"benchmarks/{file}", *session.posargs[1:])


@nox.session(venv_backend="venv", reuse_venv=True)
def notebooks(session):
    """Both notebooks executed on a study, as pages: nox -s notebooks -- [DIR]; without a study, on one in miniature."""
    session.install("nbclient", "nbconvert", "ipykernel", "matplotlib>=3.10", "--editable", str(HERE / "contracts"))
    study = Path(session.posargs[0] if session.posargs else "artifacts/embedded")
    with tempfile.TemporaryDirectory() as scratch:
        if not session.posargs and not study.is_dir():
            study = Path(scratch) / "study"
            python(session, "-m", "pipeline", "--recipe", "tests/tiny.toml", "--out", str(study))
        session.run("python", "docs/notebooks/execute.py", str(study), "artifacts/notebooks")


@nox.session
def validate(session):
    """Deep verification of every artifact: nox -s validate -- [DIR]."""
    python(session, "-m", "align_contracts", "validate", "--deep", *(session.posargs or ["artifacts/embedded"]))
