"""Decode throughput of the rollout engine by batch size, beside a bare decode loop over the same weights.

Run: uv run nox -s bench -- rollout [--model DIR | --shape gemma-2b] [--rows 1 2 4 …] [--new-tokens 64] [--repeat 3]

Both read B prompts of the same length and decode the same number of tokens, wearing the same adapter. The bare loop
takes the most likely token and nothing else: no random draws, no end tokens, no log of what was sampled; like mlx-lm's
own it begins a step before the last one is done. They take turns; a figure is the best of the repeats, reading the
prompts included. Aim: the engine within 10 % of the bare loop. A shape is a random model in bf16, for a GPU. With
--answers K the engine reads each of B / K prompts once for its K answers; the bare loop cannot, and reads B rows.

Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import align_mlx  # isort: skip  (loads the BLAS before mlx.core)
import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from align_mlx.adapters import Adapter, LoraSpec, fresh
from align_mlx.compute import bound_cache
from align_mlx.loading import load_base
from align_mlx.resident import Resident
from align_mlx.rollout import Draw, Prompt, sample
from peers import model
from peers.shapes import SHAPES, make_resident


def bare(resident: Resident, adapter: Adapter, prompts: list[Prompt], steps: int) -> None:
    """Decode greedily: the model, its cache, and nothing around them."""
    cache, worn = make_prompt_cache(resident.model), resident.outfit((adapter,))
    tokens_BL = mx.array([prompt.ids for prompt in prompts])
    for _ in range(steps):
        logits_BV = resident.logits(resident.hidden(tokens_BL, worn, cache)[:, -1])
        tokens_BL = mx.argmax(logits_BV, axis=-1, keepdims=True)
        mx.async_eval(tokens_BL)
    mx.eval(tokens_BL)


def best_seconds(calls: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Give the shortest time of each call; they take turns, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeat + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: min(seconds) for name, seconds in times.items()}


def measure(resident: Resident, rows: int, answers: int, length: int, steps: int, repeat: int) -> dict[str, float]:
    """Give tokens a second of both at a batch size, answers a prompt, and a length of the prompts."""
    adapter = fresh(resident.maps, LoraSpec(16, 32.0, 16), mx.random.key(0))  # the last 16 blocks, as in the study
    mx.eval(adapter.params)
    vocab = resident.vocab_size
    prompts = [Prompt(tuple((7 * i + 31 * n) % vocab for i in range(length)), n) for n in range(rows // answers)]

    def engine() -> None:
        sample(resident, (adapter,), prompts, draw=Draw(0), answers=answers, max_new_tokens=steps, max_rows=rows)

    def alone() -> None:
        bare(resident, adapter, prompts * answers, steps)

    seconds = best_seconds({"engine": engine, "bare": alone}, repeat)
    speed = {name: rows * steps / value for name, value in seconds.items()}
    return {"rows": rows, **speed, "ratio": speed["engine"] / speed["bare"]}


def main() -> None:
    """Measure every batch size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory instead of a small random Gemma")
    parser.add_argument("--shape", choices=SHAPES, help="a random model of this shape in bf16, for a GPU")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128], help="batch sizes")
    parser.add_argument("--answers", type=int, default=1, help="rows that answer the same prompt (default 1)")
    parser.add_argument("--prompt-tokens", type=int, default=32, help="tokens of a prompt (default 32)")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens decoded a row (default 64)")
    parser.add_argument("--repeat", type=int, default=3, help="timed repeats (default 3)")
    options = parser.parse_args()
    if options.shape:
        bound_cache()
        resident = make_resident(SHAPES[options.shape], dense=True)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            resident = load_base(options.model or model.write(Path(scratch, "model")))
    resident.end_tokens = frozenset()
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    system = f"{platform.system()} {platform.machine()}"
    print(f"{system}, {mx.default_device()}, {os.cpu_count()} CPU cores, {threads} BLAS threads ({align_mlx.BLAS})")
    print(f"{'rows':>6}{'engine tokens/s':>18}{'bare tokens/s':>16}{'engine/bare':>13}")
    found = []
    for rows in options.rows:
        row = measure(resident, rows, options.answers, options.prompt_tokens, options.new_tokens, options.repeat)
        print(f"{rows:6}{row['engine']:18.0f}{row['bare']:16.0f}{row['ratio']:13.2f}", flush=True)
        found.append(row)
    work = {"shape": options.shape, "answers": options.answers, "new_tokens": options.new_tokens}
    print(json.dumps({"system": system, "threads": threads, **work, "rollout": found}))


if __name__ == "__main__":
    main()
