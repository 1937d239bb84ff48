"""`align-rl watch`: look at runs until told to stop."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.live import Live

from align_contracts.console import runtime
from align_contracts.console.suggest import did_you_mean
from align_contracts.errors import ConfigError, MissingError
from align_contracts.nearby import nearby
from align_contracts.paths import printable
from align_rl.dashboard.figures import figures
from align_rl.dashboard.page import page, put
from align_rl.dashboard.runs import MANIFEST, Watched, runs_at
from align_rl.dashboard.terminal import frame, lines_of, print_frame

SPARSE = 10.0
"""Seconds between plain lines, where no terminal shows frames."""
STALE = 5.0
"""Seconds after which a frame is drawn again though no log has grown: ages and times left have changed."""
PLAIN_WIDTH = 118
"""Characters a line where there is no terminal."""


class WatchConfig(BaseModel):
    """What to look at, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: tuple[Path, ...] = Field(
        min_length=1,
        description="artifacts, run folders (.NAME.run), names of runs to come, or directories of them",
        json_schema_extra={"positional": True},
    )
    once: bool = runtime(False, "print one frame and stop")
    json_output: bool = runtime(
        False,
        "print the last figures of each run as one JSON object, and stop",
        json_schema_extra={"aliases": ["--json"]},
    )
    html: Path | None = runtime(None, "also write the curves as a page of its own, anew whenever there is more to show")
    every: float = runtime(1.0, "seconds between looks", ge=0.1)
    quiet: bool = runtime(False, "show nothing; for --html alone")


def run(config: WatchConfig) -> int:
    """Watch until Ctrl-C; with `once` or `json_output`, or where no terminal is, until there is nothing more to see.

    Raises:
        MissingError: nothing can ever be at one of the paths, or nothing is yet and one frame was asked for.
        ConfigError: the page would lie in an artifact or in a run's folder.
    """
    require_folders(config.runs)
    watched = Watched(config.runs)
    if config.html is not None:
        require_apart(config.html)
    watched.poll()
    if config.json_output or config.once:
        require_there(watched.awaited)
        _write(config, watched, again=False)
        if config.json_output:
            print(json.dumps({"runs": [figures(one) for one in watched.runs]}, indent=2, ensure_ascii=False))
        elif not config.quiet:
            print_frame(_console(), watched)
        return 0
    for path in watched.awaited:
        hint = nearby(path) or ""
        print(f"note: there is no run {printable(str(path))} yet; waiting for it. {hint}".strip(), file=sys.stderr)
    try:
        _follow(config, watched)
    except KeyboardInterrupt:
        _write(config, watched, again=False)
    return 0


def require_folders(paths: Sequence[Path]) -> None:
    """Raise ConfigError for what is there and is no directory: no run will ever come of it."""
    for path in paths:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise ConfigError(f"{path} is no directory", expected="an artifact, a run folder, or a directory of them")


def require_there(awaited: Sequence[Path]) -> None:
    """Raise MissingError for the first of the paths at which nothing is yet: one frame waits for none."""
    for path in awaited:
        hint = did_you_mean(str(path), [str(one) for one in runs_at(path.parent)], nearby(path))
        raise MissingError(f"there is no run {path}", expected="a run, or a directory of runs", do=hint)


def require_apart(path: Path) -> None:
    """Raise ConfigError where a file is no page, or would become a part of an artifact or of a run."""
    if path.suffix != ".html":
        raise ConfigError(f"--html {path} is no name of a page", expected="a name that ends in .html")
    for folder in path.absolute().parents:
        inside = (folder / MANIFEST).is_file() or (folder.name.startswith(".") and folder.name.endswith(".run"))
        if inside:
            raise ConfigError(
                f"--html {path} lies in {folder}, which holds only its own files", do="Write it elsewhere"
            )


def _follow(config: WatchConfig, watched: Watched) -> None:
    console = _console()
    _write(config, watched, again=True)
    if config.quiet or not console.is_terminal or console.is_dumb_terminal:
        _plainly(config, watched)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        drawn, changed = 0.0, True
        while True:
            if changed or time.monotonic() - drawn >= STALE:
                drawn = time.monotonic()
                live.update(frame(watched, console.width, console.height), refresh=True)
            time.sleep(config.every)
            if changed := watched.poll():
                _write(config, watched, again=True)


def _plainly(config: WatchConfig, watched: Watched) -> None:
    """Print a line a run now and then, as long as something is to come."""
    said, shown = 0.0, list[str]()
    while True:
        ended = bool(watched.runs) and all(one.state().ended for one in watched.runs)
        lines = lines_of(watched)
        if lines != shown and (ended or time.monotonic() - said >= SPARSE):
            said, shown = time.monotonic(), lines
            if not config.quiet:
                print("\n".join(lines), flush=True)
        if ended:
            _write(config, watched, again=False)
            return
        time.sleep(config.every)
        if watched.poll():
            _write(config, watched, again=True)


def _write(config: WatchConfig, watched: Watched, *, again: bool) -> None:
    if config.html is not None:
        going = again and not (watched.runs and all(one.state().ended for one in watched.runs))
        put(config.html, page(watched.runs, refresh=max(2, round(config.every)) if going else None))


def _console() -> Console:
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(file=sys.stdout, width=PLAIN_WIDTH, highlight=False)
