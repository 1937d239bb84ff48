"""How the time and memory of our GRPO iteration grow with prompts P, answers K, answer length T and model size.

Run: uv run nox -s bench -- growth [--full] [--memory-limit GIB]

Each axis is varied alone from a base cell. A cell does one iteration to warm up and times the next two (the shorter
counts); every answer has exactly T tokens. The slope is that of the least-squares line of log time over log axis: 1 is
proportional. --full takes every axis to its end: P 4 to 32, K 2 to 12, T 64 to 512.

Every cell is planned for one memory limit (--memory-limit), and its peak must stay within it.

Prints a table, and as its last line one JSON object. Memory is MLX's peak in bytes, everything resident counted.
"""

import argparse
import json
import math
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import align_mlx  # isort: skip  (loads the BLAS before mlx.core)
import mlx.core as mx

from align_rl.loop import Record
from peers import model, ours
from peers.protocol import Work

ITERATIONS = 3
BASE = {"prompts": 4, "answers": 2, "new_tokens": 64, "width": 256}
FULL = {
    "prompts": (4, 8, 16, 32),
    "answers": (2, 4, 8, 12),
    "new_tokens": (64, 128, 256, 512),
    "width": (128, 256, 512, 1024),
}
SMALL = {axis: values[:3] for axis, values in FULL.items()}
TITLES = {"prompts": "prompts P", "answers": "answers K", "new_tokens": "answer tokens T", "width": "parameters"}


def measure(folder: Path, limit: float, *, width: int, **sizes: int) -> dict[str, float]:
    """Give the seconds and the peak memory in bytes of an iteration on a random Gemma of a hidden width."""
    path = folder / str(width)
    if not path.exists():
        model.write(path, hidden_size=width, intermediate_size=4 * width)
    mx.clear_cache()
    records: list[Record] = []
    ours.run(Work(str(path), **sizes), lambda state: None, records.append, ITERATIONS, limit)
    seconds = min(record["seconds"] for record in records[1:])
    return {"seconds": seconds, "peak": records[-1]["peak_memory_bytes"]}


def parameters(width: int) -> int:
    """Count the matrices' entries: the embedding, and in each block attention (4 + 1 heads of 64) and MLP."""
    heads, shared = model.SHAPE["num_attention_heads"], model.SHAPE["num_key_value_heads"]
    block = 2 * (heads + shared) * model.SHAPE["head_dim"] * width + 3 * width * 4 * width
    return model.SHAPE["vocab_size"] * width + model.SHAPE["num_hidden_layers"] * block


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Give the least-squares slope of log y over log x."""
    us, vs = [math.log(x) for x in xs], [math.log(y) for y in ys]
    u, v = sum(us) / len(us), sum(vs) / len(vs)
    return sum((a - u) * (b - v) for a, b in zip(us, vs, strict=True)) / sum((a - u) ** 2 for a in us)


def main() -> None:
    """Measure every axis and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every axis to its end (many minutes on a CPU)")
    parser.add_argument("--memory-limit", type=float, default=1.0, help="GiB that each cell is planned for (default 1)")
    asked = parser.parse_args()
    axes = FULL if asked.full else SMALL
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    system = f"{platform.system()} {platform.machine()}"
    print(f"{system}, {mx.default_device()}, {os.cpu_count()} CPU cores, {threads} BLAS threads ({align_mlx.BLAS})")
    print(f"base cell: {BASE}, planned for {1024 * asked.memory_limit:.0f} MiB")
    print(f"{'axis':18}{'value':>12}{'s/iteration':>13}{'peak MiB':>10}")
    cells: dict[tuple[int, ...], dict[str, float]] = {}
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for axis, values in axes.items():
            xs, measured = [], []
            for value in values:
                sizes = {**BASE, axis: value}
                cell = tuple(sizes.values())
                if cell not in cells:
                    cells[cell] = measure(Path(scratch), asked.memory_limit, **sizes)
                xs.append(parameters(value) if axis == "width" else value)
                measured.append(cells[cell])
                row = measured[-1]
                print(f"{TITLES[axis]:18}{xs[-1]:12,}{row['seconds']:13.2f}{row['peak'] / 2**20:10.0f}", flush=True)
            steepness = slope(xs, [row["seconds"] for row in measured])
            print(f"{TITLES[axis]:18}{'slope':>12}{steepness:13.2f}")
            found[axis] = {"values": xs, "cells": measured, "slope": steepness}
    fits = all(cell["peak"] <= asked.memory_limit * 2**30 for cell in cells.values())
    print(f"every cell within the limit: {'yes' if fits else 'NO'}")
    facts = {"system": system, "threads": threads, "base": BASE, "memory_limit": asked.memory_limit, "fits": fits}
    print(json.dumps({**facts, "growth": found}))


if __name__ == "__main__":
    main()
