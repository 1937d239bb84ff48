"""Command line of the pipeline: ``uv run nox -s pipeline -- --recipe recipes/embedded.toml --out DIR``."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` listens: no traceback of half an import

import json
import os
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from align_contracts import InterruptedRun, PreflightError
from align_contracts.canonical import to_json
from align_contracts.console import SECTIONS, Command, aliases, guarded, resolve, runtime, streams, version
from align_contracts.console.arguments import Arguments, split
from align_contracts.console.fields import flags_of
from align_contracts.console.help import command_help
from pipeline.chain import PipelineConfig
from pipeline.lock import only_one
from pipeline.logs import last_attempt
from pipeline.plan import Planned, finished, plan
from pipeline.preflight import agree, preflight, require_continuable, require_free
from pipeline.processes import Pool
from pipeline.study import require_disk, study

LOGS = ".logs"
CALL = "nox -s pipeline --"
EXAMPLES = (
    "nox -s pipeline",
    "nox -s pipeline -- --recipe recipes/gemma-2b-ultrafeedback.toml --dry-run",
    "nox -s pipeline -- --out artifacts/mine --set rl.num_iterations=20 --seeds 42,123",
    "nox -s pipeline -- --out artifacts/mine --quiet --json",
)


class CallConfig(BaseModel):
    """What a call says beside the recipe's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Path = Field(
        Path("recipes/embedded.toml"), description="Settings of all steps.", json_schema_extra=aliases("--config")
    )
    out: Path | None = runtime(None, "Directory of all artifacts; default: artifacts/ and the recipe's name.")
    dry_run: bool = runtime(False, "Check every setting, print commands and forecast, and stop.")
    tflops: float | None = runtime(
        None, "Speed to forecast with, 10^12 operations a second; default: measure this machine.", gt=0
    )
    quiet: bool = runtime(False, "Show no progress and no summary.")
    json_output: bool = runtime(
        False,
        "Print one JSON object: the plan, or what has come of the steps; all else goes to standard error.",
        json_schema_extra=aliases("--json"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chain and return its exit code: 0, that of the first step that failed, or 128 + the signal's number."""
    streams.secure(stdout=True)
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _main(arguments), partial(_again, arguments))


def _again(arguments: Sequence[str], error: InterruptedRun) -> None:
    again = shlex.join(["uv", "run", "nox", "-s", "pipeline", *(["--", *arguments] if arguments else [])])
    error.do = f"This command keeps every finished step and goes on:\n  {again}"


def _main(argv: list[str]) -> int:
    flags = [*flags_of(CallConfig), *flags_of(PipelineConfig)]
    if "--help" in argv or "-h" in argv:
        print(command_help(CALL, "Run the whole chain by a recipe.", flags, SECTIONS, EXAMPLES))
        return 0
    said = split(argv, flags, "nox -s pipeline")
    if "--version" in said.switches:
        print("align", version("align-contracts"))
        return 0
    command = Command("pipeline", "The call.", CallConfig, "")
    call = resolve("nox -s", [command], ["pipeline", *_given(said, CallConfig.model_fields)])[1]
    assert isinstance(call, CallConfig)
    out = call.out or Path("artifacts") / call.recipe.stem
    settings, steps = plan(call.recipe, out, said.sets, _given(said, PipelineConfig.model_fields))
    if "--show-config" in said.switches:
        print(json.dumps({one.step.name: to_json(one.config) for one in steps}, indent=2))
        return 0
    return _run(call, out, settings, steps)


def _given(said: Arguments, fields: Collection[str]) -> list[str]:
    """Return the flags of some settings as they were given."""
    return [f"{flag.names[0]}={_text(value)}" for flag, (value, _) in said.values.items() if flag.key in fields]


def _text(value: str | bool | list[str]) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value


def _run(call: CallConfig, out: Path, settings: PipelineConfig, steps: list[Planned]) -> int:
    begun = time.monotonic()
    if out.exists() and not out.is_dir():
        raise PreflightError(f"{out} is no directory", do="Choose another --out")
    there = [finished(planned) for planned in steps]  # what cannot be kept is said now, not after an hour
    if call.dry_run:
        agree(steps)
        require_continuable(steps, there)
        _foretell(call, steps, there, study(settings, steps, there, call.tflops))
        return 0
    preflight(steps, there, os.environ)
    require_disk(out, steps, there, settings.jobs)
    with only_one(out) as lock:
        require_free(steps, there)
        require_continuable(steps, there)
        pool = Pool(out / LOGS, settings.jobs, Console(stderr=call.json_output, quiet=call.quiet), inherited=(lock,))
        outcome = pool.run(steps)
    spent = time.monotonic() - begun
    if call.json_output:
        print(json.dumps({"out": str(out), **outcome.told(), "seconds": round(spent, 1)}), flush=True)
    outcome.require_all()
    if not (call.quiet or call.json_output):
        minutes, seconds = divmod(spent, 60)
        kept = f", {len(outcome.kept)} of them kept" if outcome.kept else ""
        print(f"\n{len(steps)} steps in {minutes:.0f} min {seconds:02.0f} s{kept}\n")
        print("\n".join(last_attempt(pool.logs / f"{steps[-1].step.name}.log")))  # the report's summary
    return 0


def _foretell(call: CallConfig, steps: Sequence[Planned], there: Sequence[bool], forecast: Sequence[str]) -> None:
    """Print the plan: a command a step, those whose artifact is there as remarks, then the forecast."""
    commands = [[one.step.script, *one.argv] for one in steps]
    if call.json_output:
        rows = zip(steps, commands, there, strict=True)
        listed = [{"name": one.step.name, "command": command, "there": made} for one, command, made in rows]
        print(json.dumps({"steps": listed, "forecast": forecast}, ensure_ascii=False))
        return
    for planned, command, made in zip(steps, commands, there, strict=True):
        print(f"# {planned.step.name} is there" if made else shlex.join(command))
    print("\n".join(f"# {line}" for line in forecast))


if __name__ == "__main__":
    sys.exit(main())
