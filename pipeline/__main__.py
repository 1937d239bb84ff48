"""Command line of the pipeline: ``uv run nox -s pipeline -- --recipe recipes/embedded.toml --out DIR``."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from align_contracts import AlignError, ConfigError, InterruptedRun
from align_contracts.console.help import styled
from pipeline.lock import only_one
from pipeline.logs import last_attempt
from pipeline.plan import Planned, finished, plan
from pipeline.processes import Pool

LOGS = ".logs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chain and return its exit code: 0, that of the first step that failed, or 130/143 when interrupted."""
    arguments = _parser().parse_args(argv)
    out = arguments.out or Path("artifacts") / arguments.recipe.stem
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        return _run(arguments.recipe, out, arguments.sets, arguments.dry_run)
    except AlignError as error:
        print(f"{styled('error:', 'error', sys.stderr)} {error}", file=sys.stderr)
        return error.exit_code


def _run(recipe: Path, out: Path, sets: Sequence[str], dry: bool) -> int:
    begun = time.monotonic()
    settings, steps = plan(recipe, out, sets)
    there = [finished(planned) for planned in steps]  # what cannot be kept is said now, not after an hour
    if dry:
        for planned, made in zip(steps, there, strict=True):
            command = shlex.join([planned.step.script, *planned.argv])
            print(f"# {planned.step.name} is there" if made else command)
        return 0
    require_judge(steps, os.environ)
    with only_one(out) as lock:
        pool = Pool(out / LOGS, settings.jobs, Console(), inherited=(lock,))
        outcome = pool.run(steps)
    outcome.require_all()
    minutes, seconds = divmod(time.monotonic() - begun, 60)
    kept = f", {len(outcome.kept)} of them kept" if outcome.kept else ""
    print(f"\n{len(steps)} steps in {minutes:.0f} min {seconds:02.0f} s{kept}\n")
    print("\n".join(last_attempt(pool.logs / f"{steps[-1].step.name}.log")))  # the report's summary
    return 0


def require_judge(steps: Sequence[Planned], environment: Mapping[str, str]) -> None:
    """Refuse to begin without the key of the judge that stands at the end: the runs before it take days.

    Raises:
        ConfigError: a step asks OpenAI's own endpoint and there is no key.
    """
    asks = any(
        str(getattr(one.config, "judge", "")).startswith("openai:")
        and "api.openai.com" in str(getattr(one.config, "base_url", ""))
        for one in steps
    )
    if asks and not environment.get("OPENAI_API_KEY"):
        raise ConfigError(
            "the judge needs a key",
            expected="OPENAI_API_KEY in the environment",
            got="none",
            do="Set it, or choose another judge, for example --set judge.judge=reward-model",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s pipeline --", description="Run the whole chain by a recipe.", allow_abbrev=False
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
    add("--dry-run", action="store_true", help="check every setting, print the commands and stop")
    return parser


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise InterruptedRun("interrupted", do="The same command keeps every finished step and goes on", signum=number)


if __name__ == "__main__":
    sys.exit(main())
