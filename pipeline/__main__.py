"""Command line of the pipeline: ``uv run nox -s pipeline -- --recipe recipes/embedded.toml --out DIR``."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` listens: no traceback of half an import

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from align_contracts import AlignError, ConfigError, InterruptedRun, PreflightError, signals
from align_contracts.console import streams
from align_contracts.console.help import styled
from align_contracts.console.suggest import did_you_mean
from pipeline.lock import only_one
from pipeline.logs import last_attempt
from pipeline.plan import finished, plan
from pipeline.preflight import agree, preflight, require_continuable, require_free
from pipeline.processes import Pool
from pipeline.study import require_disk, study

LOGS = ".logs"
EXAMPLES = """examples:
  nox -s pipeline
  nox -s pipeline -- --recipe recipes/gemma-2b-ultrafeedback.toml --dry-run
  nox -s pipeline -- --out artifacts/mine --set rl.num_iterations=20 --set pipeline.seeds=42,123
  align-rl watch artifacts/mine      # in another terminal, while it runs"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chain and return its exit code: 0, that of the first step that failed, or 128 + the signal's number."""
    streams.secure(stdout=True)
    try:
        with signals.listening():
            arguments = _arguments(argv)
            out = arguments.out or Path("artifacts") / arguments.recipe.stem
            return _run(arguments.recipe, out, arguments.sets, arguments.dry_run, arguments.tflops)
    except AlignError as error:
        if isinstance(error, InterruptedRun):
            given = sys.argv[1:] if argv is None else argv
            again = shlex.join(["uv", "run", "nox", "-s", "pipeline", *(["--", *given] if given else [])])
            error.do = f"This command keeps every finished step and goes on:\n  {again}"
        print(f"{styled('error:', 'error', sys.stderr)} {error}", file=sys.stderr)
        return error.exit_code


def _run(recipe: Path, out: Path, sets: Sequence[str], dry: bool, tflops: float | None) -> int:
    begun = time.monotonic()
    settings, steps = plan(recipe, out, sets)
    if out.exists() and not out.is_dir():
        raise PreflightError(f"{out} is no directory", do="Choose another --out")
    there = [finished(planned) for planned in steps]  # what cannot be kept is said now, not after an hour
    if dry:
        agree(steps)
        require_continuable(steps, there)
        for planned, made in zip(steps, there, strict=True):
            command = shlex.join([planned.step.script, *planned.argv])
            print(f"# {planned.step.name} is there" if made else command)
        print("\n".join(f"# {line}" for line in study(settings, steps, there, tflops)))
        return 0
    preflight(steps, there, os.environ)
    require_disk(out, steps, there, settings.jobs)
    with only_one(out) as lock:
        require_free(steps, there)
        require_continuable(steps, there)
        pool = Pool(out / LOGS, settings.jobs, Console(), inherited=(lock,))
        outcome = pool.run(steps)
    outcome.require_all()
    minutes, seconds = divmod(time.monotonic() - begun, 60)
    kept = f", {len(outcome.kept)} of them kept" if outcome.kept else ""
    print(f"\n{len(steps)} steps in {minutes:.0f} min {seconds:02.0f} s{kept}\n")
    print("\n".join(last_attempt(pool.logs / f"{steps[-1].step.name}.log")))  # the report's summary
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ConfigError: a flag is unknown.
    """
    parser = argparse.ArgumentParser(
        prog="nox -s pipeline --",
        description="Run the whole chain by a recipe.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--recipe", type=Path, default=Path("recipes/embedded.toml"), help="settings (default: %(default)s)")
    add("--out", type=Path, help="directory of all artifacts (default: artifacts/ and the recipe's name)")
    add(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="SECTION.KEY=VALUE",
        help="override a setting of the recipe; may be repeated",
    )
    add("--dry-run", action="store_true", help="check every setting, print commands and forecast, and stop")
    add("--tflops", type=float, metavar="X", help="speed to forecast with (default: measure this machine)")
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        what = "unknown flag" if unknown[0].startswith("-") else "unexpected argument"
        do = did_you_mean(unknown[0].partition("=")[0], flags, f"{parser.prog} --help lists the flags")
        raise ConfigError(f"nox -s pipeline: {what} {unknown[0]}", do=do)
    if known.tflops is not None and not 0 < known.tflops < float("inf"):
        raise ConfigError("--tflops", expected="a number above 0", got=known.tflops)
    return known


if __name__ == "__main__":
    sys.exit(main())
