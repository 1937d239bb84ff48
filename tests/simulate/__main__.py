"""Print how the statistics do on simulated studies; 0 if the primary interval and the planner keep their promises."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from simulate.coverage import Coverage, cover
from simulate.power import powers
from simulate.world import World

DESIGNS = ((3, 300), (5, 100))
SEED_SDS = (0.0, 0.02, 0.05, 0.1)
EFFECTS = (0.05, 0.1, 0.2)
KINDS = {"prompts pair the runs": {}, "prompts do not matter": {"shared": 0.0, "own": 0.0}}
"""Worlds by name; the first has the correlations of a real study."""
BAND = (0.93, 0.975)
"""Where the coverage of the primary 95 % interval must lie."""
LEAST = 4_000
"""Studies with which a coverage of 0.95 is known to 0.0034, a power to 0.008."""
CLOSE = 0.03
"""How far the predicted power may be from the simulated one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run every cell."""
    options = arguments(argv)
    failures = coverage_table(options) + power_table(options)
    print("\n".join(failures) or f"coverage of the primary interval in {BAND} and power within {CLOSE} in every cell")
    return 1 if failures else 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000, help=f"simulated studies a cell, at least {LEAST}")
    parser.add_argument("--replicates", type=int, default=500, help="of the bootstrap")
    parser.add_argument("--key", type=int, default=42, help="of the generator")
    options = parser.parse_args(argv)
    if options.studies < LEAST:
        parser.error(f"expected --studies of {LEAST} or more, got {options.studies}: fewer are too noisy to judge by")
    return options


def coverage_table(options: argparse.Namespace) -> list[str]:
    """Print the coverage of all intervals, and return what is out of the band."""
    print(
        f"Coverage of 95 % intervals, in %, over {options.studies} studies a cell. Truth: other seeds, other prompts;"
    )
    print("for `here`, other seeds on the same prompts. primary: t on seed means, widened by what prompts add.")
    print(f"{'':28}|{'difference of two methods':^43}|{'win rate of one method':^33}")
    heads = ("primary", "t", "t here", "pooled t", "bootstrap")
    print(f"{'seeds × prompts, seed SD':28}|{_cells(heads)}|{_cells(heads[:3] + heads[4:])}")
    failures = []
    for kind, (name, changes) in enumerate(KINDS.items()):
        print(f"{name:28}|{'':43}|")
        for number, (label, world) in enumerate(cells(changes)):
            one, two = cover(world, options.studies, options.key + 100 * kind + number, options.replicates)
            print(f"  {label:26}|{_cells(_shown(two))}|{_cells(_shown(one))}", flush=True)
            for what, found in (("difference", two.primary), ("win rate", one.primary)):
                if not BAND[0] <= found <= BAND[1]:
                    failures.append(f"{name}, {label}: the primary interval of the {what} covers {found:.3f}")
    return failures


def _shown(one: Coverage) -> list[str]:
    values = (one.primary, one.seed_means, one.seed_means_here, one.pooled, one.bootstrap)
    return [f"{100 * value:.1f}" for value in values if value is not None]


def _cells(texts: Sequence[str]) -> str:
    """Texts flush right in columns; the pooled t has one only where there are five."""
    widths = (8, 6, 8, 10, 11) if len(texts) == 5 else (8, 6, 8, 11)
    return "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))


def cells(changes: dict[str, float]) -> list[tuple[str, World]]:
    """The cells of the study, and for each design one in which the methods differ in spread."""
    found = []
    for (seeds, prompts), sd in product(DESIGNS, SEED_SDS):
        world = World(seeds, prompts, (0.5, 0.4), (sd, sd), **changes)
        found.append((f"{seeds} × {prompts}, {sd:g}", world))
    for seeds, prompts in DESIGNS:
        world = World(seeds, prompts, (0.5, 0.4), (0.02, 0.1), **changes)
        found.append((f"{seeds} × {prompts}, 0.02 and 0.1", world))
    return found


def power_table(options: argparse.Namespace) -> list[str]:
    """Print predicted and simulated power, and return where they are apart."""
    print(f"\nPower at a true difference of win rates, in %: predicted | in {options.studies} simulated studies")
    print(f"{'seeds × prompts, seed SD':28}|" + "".join(f"{effect:^16g}|" for effect in EFFECTS))
    failures = []
    for kind, (name, changes) in enumerate(KINDS.items()):
        print(f"{name:28}|" + f"{'':16}|" * len(EFFECTS))
        for number, (label, world) in enumerate(cells(changes)):
            line = f"  {label:26}|"
            for column, effect in enumerate(EFFECTS):
                key = options.key + 10_000 + 1000 * kind + 10 * number + column
                predicted, found = powers(replace(world, win_rates=(0.4 + effect, 0.4)), options.studies, key)
                line += f"{100 * predicted:7.1f} |{100 * found:6.1f} |"
                if abs(predicted - found) > CLOSE:
                    failures.append(f"{name}, {label}: power {predicted:.3f} predicted, {found:.3f} simulated")
            print(line, flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
