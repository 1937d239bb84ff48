"""Plant every bug of the catalogue, one at a time, and show that the conformance suite kills all of them."""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants.catalogue import MUTANTS
from mutants.judge import SURVIVED, Verdict
from mutants.mutant import ROOT, Mutant, StaleMutantError
from mutants.tree import OUTPUT, make_tree, put, run_suite

WIDTH = max(len(mutant.name) for mutant in MUTANTS)
PATIENCE = 10
"""How many times as long as without a bug the suite may take with one; stopped there it has judged nothing."""


def main() -> int:
    """Run the mutants that were asked for; 0 if all were killed, 2 if nothing could be judged."""
    options = arguments()
    if unknown := set(options.names) - {mutant.name for mutant in MUTANTS}:
        return refuse(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # `jobs` says how many cores are used
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        healthy = make_tree(ROOT, Path(folder).resolve())  # once, so that all are judged by the same sources
        try:
            planted = [mutant.plant(healthy) for mutant in chosen]
        except StaleMutantError as error:
            return refuse(str(error))
        began = time.monotonic()
        verdict = run_suite(healthy, options.limit)
        limit = PATIENCE * (time.monotonic() - began)
        if verdict != SURVIVED:
            output = (healthy / OUTPUT).read_text(encoding="utf-8")
            return refuse(f"{output}\nthe suite does not pass without a bug: {verdict.text}")
        print(f"{'(no bug)':{WIDTH}} the suite passes", flush=True)
        killed = 0
        with ThreadPoolExecutor(options.jobs) as workers:
            tried = workers.map(lambda one: attempt(healthy, *one, limit), zip(chosen, planted, strict=True))
            for mutant, (verdict, seconds) in zip(chosen, tried, strict=True):
                print(f"{mutant.name:{WIDTH}} {verdict.text} in {seconds:.0f} s", flush=True)
                killed += verdict.killed
    print(f"killed {killed} of {len(chosen)}")
    return 0 if killed == len(chosen) else 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to plant; all if none is named")
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time")
    parser.add_argument("--limit", type=float, default=900.0, help="most seconds of the suite without a bug")
    return parser.parse_args()


def attempt(healthy: Path, mutant: Mutant, text: str, limit: float) -> tuple[Verdict, float]:
    """Run the suite in a tree of its own with the mutant's text in it; give the verdict and the seconds it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = make_tree(healthy, Path(folder).resolve())
        put(tree, mutant.path, text)
        return run_suite(tree, limit, first=mutant.first), time.monotonic() - began


def refuse(reason: str) -> int:
    """Say why nothing can be judged."""
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
