"""Third part, our environment again: imports what PEFT, mlx-lm and `datasets` have made.

python -m interop.coming RUN        RUN is the folder that the peers have filled
"""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import mlx.core as mx
import mlx_lm
import numpy as np

import align_mlx  # noqa: F401 · before mlx.core, so that MLX finds a fast BLAS
from align_contracts import open_artifact
from interop.cases import IDS, align, close, logits
from interop.lines import say


def main(run: Path) -> None:
    store = run / "store"
    for name, case in json.loads((run / "cases.json").read_text())["cases"].items():
        adapter, out = run / f"{name}-made-by-peft", store / f"in-{name}"
        align("align-sft import --quiet", "--adapter", adapter, "--base", case["base"], "--out", out)
        figure, passed = close(np.load(run / f"{name}-made-by-peft.npy"), logits(open_artifact(out)))
        say(
            run,
            "PEFT",
            f"align-sft import: {'gemma' if name == 'rl' else name}, ranks and alphas by pattern",
            figure,
            passed,
        )
    by_mlx_lm(run, store)
    rows(run)


def by_mlx_lm(run: Path, store: Path) -> None:
    """An adapter that mlx-lm itself trains on the exported SFT rows, for a few steps."""
    data, adapter = run / "mlx-lm-data", run / "made-by-mlx-lm"
    data.mkdir()
    lines = (store / "data" / "sft" / "train.jsonl").read_text().splitlines(keepends=True)
    for name, part in (("train", lines[:40]), ("valid", lines[40:60])):
        (data / f"{name}.jsonl").write_text("".join(part))
    options = [
        "--iters",
        "4",
        "--batch-size",
        "2",
        "--num-layers",
        "1",
        "--learning-rate",
        "0.01",
        "--val-batches",
        "1",
    ]
    command = [sys.executable, "-m", "mlx_lm", "lora", "--train", "--model", str(store / "base"), "--data", str(data)]
    command += ["--adapter-path", str(adapter), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    align("align-sft import --quiet", "--adapter", adapter, "--base", store / "base", "--out", store / "in-mlx-lm")
    model, _ = mlx_lm.load(str(store / "base"), adapter_path=str(adapter))
    model.set_dtype(mx.float32)
    figure, passed = close(np.array(model(mx.array(IDS))), logits(open_artifact(store / "in-mlx-lm")))
    say(run, f"mlx-lm {mlx_lm.__version__}", "align-sft import: an adapter of mlx_lm.lora", figure, passed)


def rows(run: Path) -> None:
    """The preferences that `datasets` has saved, as pairs of the artifact built from them."""
    wanted = {
        tuple(row[name][0]["content"] for name in ("prompt", "chosen", "rejected"))
        for row in json.loads((run / "in.json").read_text())
    }
    for form in ("saved", "parquet", "jsonl"):
        out = run / f"built-{form}"
        sizes = [word for split in ("validation", "calibration", "gold", "test") for word in (f"--{split}", "0")]
        source = ("--source", run / f"in-{form}", "--train-split", "train")
        align("align-data build --quiet", *source, *sizes, "--out", out)
        found = open_artifact(out).read_jsonl("pairs_train")
        equal = len(wanted & {(row["prompt"], row["chosen"], row["rejected"]) for row in found})
        what = f"align-data build: {'save_to_disk' if form == 'saved' else form} in TRL's form, no scores"
        passed = equal == len(wanted) == len(found)
        say(run, f"datasets {datasets.__version__}", what, f"rows equal {equal}/{len(wanted)}", passed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
