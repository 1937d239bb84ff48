"""Runs a console script: picks the command, builds its config, calls its run function, reports errors."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from align_contracts import signals
from align_contracts.canonical import to_json
from align_contracts.console import lifeline, streams
from align_contracts.console.arguments import Arguments, split
from align_contracts.console.fields import Flag, flags_of
from align_contracts.console.help import command_help, program_help, styled
from align_contracts.console.making import rehearse, reported
from align_contracts.console.recipe import Settings
from align_contracts.console.suggest import did_you_mean
from align_contracts.console.wording import plain
from align_contracts.errors import AlignError, ConfigError, InterruptedRun, PreflightError
from align_contracts.launcher import require_alone
from align_contracts.paths import printable
from align_contracts.provenance import producer
from align_contracts.secrets import VARIABLES, holds_key, mask_logs, masked

__all__ = ["Command", "guarded", "main", "resolve", "version"]


@dataclass(frozen=True)
class Command:
    """One command of a console script.

    Attributes:
        name: What the user types, for example ``ppo``.
        help: One or two sentences for the help page.
        config: A frozen pydantic model with ``extra="forbid"`` whose every field has a description.
        run: ``module:function``, imported only when the command runs and called with the config; it returns
            an exit code or None for 0.
        sections: The recipe sections it reads, merged in this order.
        examples: Complete command lines for the help page.
        data_parallel: Whether several processes share its work; others refuse to be one of several.
    """

    name: str
    help: str
    config: type[BaseModel]
    run: str
    sections: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    data_parallel: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a command needs a name")
        bare = [name for name, info in self.config.model_fields.items() if not info.description]
        if bare:
            raise ValueError(f"{self.config.__name__}: fields without a description: {', '.join(bare)}")


def main(prog: str, description: str, commands: Sequence[Command], argv: Sequence[str] | None = None) -> int:
    """Run a console script and return its exit code.

    Args:
        prog: The program's name, which is also its distribution's.
        description: A sentence for the help page.
        commands: The commands it has.
        argv: The arguments; ``sys.argv[1:]`` when None.

    Returns:
        0, what the command returned, or an exit code as `guarded` gives it.
    """
    streams.secure()
    lifeline.hold()
    mask_logs()
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _main(prog, description, commands, arguments), partial(_again, prog, arguments))


def guarded(run: Callable[[], int], again: Callable[[InterruptedRun], None]) -> int:
    """Run what a user asked for and return its exit code, the error's, or 130 after Ctrl-C.

    A user's mistake is one message on stderr; ``ALIGN_TRACEBACK=1`` shows the traceback too. Keys are masked in both.

    Args:
        run: Runs it.
        again: Completes what an interruption says with the command that goes on.
    """
    try:
        with signals.listening():
            return run()
    except AlignError as error:
        if isinstance(error, InterruptedRun):
            again(error)
        return _end(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, as in `align-x cmd --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # no permission, a disk that fails, a name that is too long
        what = f"{error.filename}: " if error.filename else ""
        return _end(f"{what}{error.strerror or error}", PreflightError.exit_code)
    except Exception:  # a mistake of ours: the traceback is for a report, which others will read
        print(masked(traceback.format_exc()), file=sys.stderr, end="")
        return 1


def _again(prog: str, arguments: Sequence[str], error: InterruptedRun) -> None:
    """Add the command line that resumes an interrupted run, started as this one was: by uv, by name, by its path."""
    if error.again is not None:
        script = ["uv", "run", prog] if os.environ.get("UV") else [prog if shutil.which(prog) else sys.argv[0]]
        error.do = f"{error.do or ''}:\n  {shlex.join([*script, *_without(arguments, error.again), *error.again])}"


def _without(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Leave out of a command's arguments the flags, with their values, that others are going to replace."""
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument in flags[::2]:
            next(rest, None)
        elif not argument.startswith(tuple(f"{flag}=" for flag in flags[::2])):
            kept.append(argument)
    return kept


def _name_flag(error: AlignError, config: BaseModel, flags: Sequence[Flag]) -> None:
    """Begin a message about an artifact with the flag that gave its path."""
    for flag in flags:
        value: Any = config
        for name in flag.path:
            value = getattr(value, name, None)
        given = value if isinstance(value, tuple) else (value,)
        if error.given is not None and error.given in given and not flag.positional:
            error.what = f"{flag.names[0]} {error.what}"
            return


def _end(message: str, code: int) -> int:
    """Print the message of the exception being handled, its traceback too when asked to, and return the exit code."""
    if _wants_traceback():
        print(masked(traceback.format_exc()), file=sys.stderr, end="")
    lines = (printable(line) for line in masked(message).split("\n"))
    print(styled("error:", "error", sys.stderr), "\n".join(lines), file=sys.stderr)
    return code


def _main(prog: str, description: str, commands: Sequence[Command], argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        examples = [one.examples[0] for one in commands if one.examples]
        print(program_help(prog, description, [(one.name, one.help) for one in commands], examples))
        return 0 if argv else 2
    if argv[0] == "--version":
        print(prog, version(prog))
        return 0
    command = _pick(prog, commands, argv[0])
    title = f"{prog} {command.name}"
    flags = flags_of(command.config)
    if "--help" in argv or "-h" in argv:
        print(command_help(title, command.help, flags, command.sections, command.examples))
        return 0
    said = split(argv[1:], flags, title, _others(prog, commands, command))
    if "--version" in said.switches:
        print(prog, version(prog))
        return 0
    config: Any = _config(prog, commands, command, said)
    if "--show-config" in said.switches:
        print(json.dumps(to_json(config), indent=2))
        return 0
    if not command.data_parallel:
        require_alone(title)
    return _run(command, flags, config, said.switches)


def _run(command: Command, flags: Sequence[Flag], config: Any, switches: Set[str]) -> int:
    """Run a command, or say what it would make where it has no fuller dry run of its own."""
    rehearsed = "--dry-run" in switches
    if (require_source := getattr(config, "require_source", None)) is not None:
        require_source()  # before the libraries are loaded, which takes seconds

    def run() -> int:
        if rehearsed:
            print(rehearse(flags, config))
            return 0
        module, _, function = command.run.partition(":")
        try:
            return int(getattr(importlib.import_module(module), function)(config) or 0)
        except AlignError as error:
            _name_flag(error, config, flags)
            raise

    if "--json" not in switches:
        return run()
    return reported(run, config.out, dry=rehearsed or getattr(config, "dry_run", False))


def resolve(prog: str, commands: Sequence[Command], argv: Sequence[str]) -> tuple[Command, BaseModel]:
    """Return the command and the config that `main` would run, without running it.

    Raises:
        ConfigError: As `main` reports it.
        MissingError: The recipe is not there.
    """
    if not argv:
        raise ConfigError(f"{prog} needs a command", expected=", ".join(one.name for one in commands))
    command = _pick(prog, commands, argv[0])
    said = split(argv[1:], flags_of(command.config), f"{prog} {command.name}", _others(prog, commands, command))
    return command, _config(prog, commands, command, said)


def _others(prog: str, commands: Sequence[Command], command: Command) -> dict[str, Sequence[Flag]]:
    """Return the flags of a script's other commands, by what those are called."""
    return {f"{prog} {one.name}": flags_of(one.config) for one in commands if one is not command}


def _pick(prog: str, commands: Sequence[Command], name: str) -> Command:
    for command in commands:
        if command.name == name:
            return command
    names = [one.name for one in commands]
    what = f"{prog}: unknown flag {name}" if name.startswith("-") else f"{prog}: unknown command '{name}'"
    raise ConfigError(what, do=did_you_mean(name, names, f"Commands: {', '.join(names)}"))


def _config(prog: str, commands: Sequence[Command], command: Command, said: Arguments) -> BaseModel:
    """Build a command's config: default < recipe < ``--set`` < flag."""
    title = f"{prog} {command.name}"
    settings = Settings(title, flags_of(command.config), command.sections, _others(prog, commands, command))
    if said.config is not None:
        settings.add_recipe(said.config)
    for text in said.sets:
        settings.add_set(text)
    for flag, (value, written) in said.values.items():
        settings.put(flag, value, "" if flag.positional else written)
    _refuse_keys(title, settings)
    try:
        return command.config.model_validate(settings.nested())
    except ValidationError as error:
        found = {_flag(settings, one) or one["loc"]: one for one in reversed(error.errors())}  # the first of each flag
        problems = [_problem(settings, one) for one in reversed(found.values())]
    if len(problems) == 1:
        raise ConfigError(f"{title}: {problems[0]}")
    raise ConfigError("\n  ".join([f"{title}: {len(problems)} settings are wrong", *problems]))


def _refuse_keys(title: str, settings: Settings) -> None:
    """Refuse a key that was given as a setting: it would be recorded, and other users see arguments of a process."""
    for path, value in settings.values.items():
        if holds_key(str(value)):
            raise ConfigError(
                f"{title}: {settings.flags[path].names[0]} holds a key, which would be recorded",
                do=f"Keys are read from the environment alone ({', '.join(VARIABLES[:2])}). Make a new one if others "
                "could see this command",
            )


def _problem(settings: Settings, error: Any) -> str:
    """Return one line for one pydantic error: which flag, what is wrong, what was got and from where."""
    path = _flag(settings, error)
    cause = error.get("ctx", {}).get("error")
    message = plain(error)
    if path is None:
        return message
    name = settings.flags[path].names[0]
    if error["type"] == "missing":
        return f"{name} is required"
    got = "" if isinstance(cause, AlignError) else f", got {_shown(error['input'])}"
    origin = settings.origins.get(path, "")
    where = f" ({origin})" if origin and origin not in settings.flags[path].names else ""
    return f"{name}: {message}{got}{where}"


def _flag(settings: Settings, error: Any) -> tuple[str, ...] | None:
    """Return the setting that one of pydantic's errors is about."""
    return next((path for path in settings.flags if error["loc"][: len(path)] == path), None)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def version(prog: str) -> str:
    """Return a package's version and, in a checkout, its commit."""
    program = producer(prog)
    commit = program["git_commit"]
    return program["version"] + (f" ({commit[:12]}{', modified' * bool(program['git_dirty'])})" if commit else "")


def _wants_traceback() -> bool:
    return os.environ.get("ALIGN_TRACEBACK", "") not in ("", "0")
