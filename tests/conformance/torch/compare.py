"""Both sides' numbers in one table, held to their tolerances; the last line is the verdict.

python compare.py RUN       leaves with 1 where anything is out of tolerance or missing
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from exchange import Numbers, read, read_cases

IN_NATS = ("log-probs", "entropies", "RM scores", "mean k3")
STAGES = ("log-probs", "entropies", "SFT", "RM", "BT", "advantages", "mean")
"""The order of the table: what comes first in the pipeline; GRPO's losses follow."""

Difference = dict[str, float]
"""``absolute``: max |Δ|; ``relative``: that over max |theirs|; ``norm``: ‖Δ‖/‖theirs‖; ``rms``: √mean Δ²."""
Tolerance = tuple[str, float]
"""Which of these, and the most that it may be; of a gradient's tensors the worst counts."""
MISSING: Difference = dict.fromkeys(("absolute", "relative", "norm", "rms"), np.inf)


def main(run: Path) -> int:
    failed, lines = [], 0
    print(f"{'case':21} {'quantity':32} {'n':>6}  {'max |Δ|':>7}  {'relative':>8}  tolerance")
    for folder, case in read_cases(run):
        ours, theirs = read(folder / "ours.safetensors"), read(folder / "theirs.safetensors")
        rounded = read(folder / "rounded.safetensors") if case.dtype == "bfloat16" else None
        for quantity, names in by_quantity(ours, theirs):
            found = worst(ours, theirs, names)
            measure, bound = tolerance(quantity, names, theirs, rounded)
            ok = found[measure] <= bound
            count = sum(theirs[name].size for name in names if name in theirs)
            relative = found["norm" if quantity.endswith("gradient") else "relative"]
            print(
                f"{case.name:21} {quantity:32} {count:6}  {found['absolute']:7.1e}  {relative:8.1e}  "
                f"{measure:8} {found[measure]:.1e} {'≤' if ok else '>'} {bound:.1e}  {'ok' if ok else 'FAIL'}"
            )
            lines += 1
            failed += [] if ok else [f"{case.name}, {quantity}"]
    passed = lines > 0 and not failed
    print("conformance: pass" if passed else f"conformance: FAIL ({len(failed)} of {lines}) {'; '.join(failed)}")
    return 0 if passed else 1


def by_quantity(ours: Numbers, theirs: Numbers) -> Iterator[tuple[str, list[str]]]:
    """Give each quantity and the names of its arrays on either side."""
    names: dict[str, list[str]] = defaultdict(list)
    for name in sorted(ours.keys() | theirs.keys()):
        names[name.partition("/")[0]].append(name)

    def place(quantity: str) -> tuple[int, str]:
        return next((i for i, stage in enumerate(STAGES) if quantity.startswith(stage)), len(STAGES)), quantity

    yield from sorted(names.items(), key=lambda item: place(item[0]))


def worst(ours: Numbers, theirs: Numbers, names: list[str]) -> Difference:
    """Give the largest differences over a quantity's arrays."""
    each = [differ(ours.get(name), theirs.get(name)) for name in names]
    return {measure: max(found[measure] for found in each) for measure in MISSING}


def differ(ours: np.ndarray | None, theirs: np.ndarray | None) -> Difference:
    """Compare two arrays; one that is missing, of another shape or not finite differs infinitely."""
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return MISSING
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all() and b.any()):
        return MISSING
    delta = np.abs(a - b)
    return {
        "absolute": float(delta.max()),
        "relative": float(delta.max() / np.abs(b).max()),
        "norm": float(np.linalg.norm(delta) / np.linalg.norm(b)),
        "rms": float(np.sqrt(np.mean(delta**2))),
    }


def tolerance(quantity: str, names: list[str], theirs: Numbers, rounded: Numbers | None) -> Tolerance:
    """Give a quantity's tolerance.

    In fp32 it is fixed, also for 4-bit weights: scale · code + bias is rounded once. In bf16 it is what the format
    costs transformers on the same weights: ours may be twice as far from its fp32 numbers as its own bf16 numbers are.
    The loss is a mean of n token errors of that size, so it may be off by four of its standard errors.
    """
    if quantity.startswith(("GAE", "returns", "whitened")):
        return "relative" if quantity.startswith("whitened") else "absolute", 1e-6
    if rounded is not None:
        if quantity.endswith("loss"):
            tokens = differ(rounded["log-probs"], theirs["log-probs"])
            return "absolute", 4 * tokens["rms"] / theirs["log-probs"].size ** 0.5
        measure = "norm" if quantity.endswith("gradient") else "rms"
        return measure, 2 * worst(rounded, theirs, names)[measure]
    if quantity.endswith("gradient"):
        return "norm", 1e-3
    return ("absolute", 2e-4) if quantity.startswith(IN_NATS) else ("relative", 1e-5)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
