"""Inject faults into the real code and print, a line a row, how often the promise held."""

import argparse
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType
from typing import NoReturn

import faults.rows
from faults.attempt import Outcome, adopt_orphans, attempt, kill_children, kill_orphans
from faults.row import discover

LARGE = 10
"""How many times as many tries ``--large`` makes."""
LIMIT = 1200.0
"""Seconds after which a row counts as hanging; `LARGE` times as many with ``--large``."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOWN = 20
"""How many failures of a row are printed; its scratch directory has all of them."""


def main(arguments: list[str] | None = None, package=faults.rows) -> int:
    """Run the rows that were asked for; 0 if all passed, 1 if not, 2 if there is no such row."""
    rows = discover(package)
    options = _parse(arguments)
    if unknown := sorted(set(options.names) - set(rows)):
        print(f"no such row: {', '.join(unknown)}; there are {', '.join(rows)}", file=sys.stderr)
        return 2
    chosen = [rows[name] for name in rows if not options.names or name in options.names]
    times = LARGE if options.large else 1
    adopt_orphans()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    home = Path(tempfile.mkdtemp(prefix="faults-")).resolve()
    began = time.monotonic()
    workers = ThreadPoolExecutor(options.jobs)
    waiting = [
        workers.submit(attempt, module, row, home, row.tries * times, options.seed, LIMIT * times)
        for module, row in chosen
    ]
    try:
        failed = _print_all(waiting, max((len(row.name) for _, row in chosen), default=0))
    except KeyboardInterrupt:
        _stop(workers, waiting)
        shutil.rmtree(home)
        print("faults: interrupted", flush=True)
        return 128 + signal.SIGINT
    kill_orphans()
    print(f"{len(chosen)} rows in {time.monotonic() - began:.0f} s, seed {options.seed}")
    if failed:
        print(f"kept for a look: {home}\nfaults: FAIL {', '.join(sorted(failed))}", flush=True)
        return 1
    home.rmdir()
    print("faults: pass", flush=True)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to run; all if none is named")
    parser.add_argument("--large", action="store_true", help=f"{LARGE} times as many tries of every row")
    parser.add_argument("--seed", type=int, default=0, help="of everything random in the rows (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="how many rows at the same time (default 2)")
    return parser.parse_args(arguments)


def _print_all(waiting: list[Future[Outcome]], width: int) -> list[str]:
    """Print a line a row as they end; return the names of those that failed."""
    failed = []
    for outcome in _as_they_end(waiting):
        row, count = outcome.row, outcome.count
        tally = f"{count.survived}/{count.tried}"
        print(f"{row.name:{width}} {tally:>11} {outcome.seconds:5.0f} s  {row.promise}", flush=True)
        for line in (*count.notes, *count.failures[:SHOWN]):
            print(textwrap.indent(line, "    "), flush=True)
        if (more := len(count.failures) - SHOWN) > 0:
            print(f"    … and {more} more", flush=True)
        if not outcome.passed:
            failed.append(row.name)
    return failed


def _as_they_end(waiting: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
    """Yield outcomes; looks up now and then, as a signal that arrives just before a wait would not end it."""
    left = set(waiting)
    while left:
        ended, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in ended)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """Stop once; further signals, of impatience, must not leave processes and files behind."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _stop(workers: ThreadPoolExecutor, waiting: list[Future[Outcome]]) -> None:
    """Start no more rows, and kill those that run."""
    workers.shutdown(wait=False, cancel_futures=True)
    while not all(future.done() for future in waiting):
        kill_children()
        time.sleep(0.05)
    kill_orphans()


if __name__ == "__main__":
    sys.exit(main())
