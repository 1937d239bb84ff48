"""Second part, with the peers (PyTorch, transformers, PEFT, datasets): loads what left, makes what comes in.

python peers.py RUN        RUN is the folder that the first part has filled
"""

import importlib.metadata
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import datasets
import numpy as np
import peft
import tensorboard
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lines import say

WRITER = str(Path(__file__).parents[2] / "packages" / "align-mlx" / "src" / "align_mlx" / "track_writer.py")
PEFT = f"PEFT {peft.__version__}"
TRANSFORMERS = f"transformers {transformers.__version__}"
DATASETS = f"datasets {datasets.__version__}"


def main(run: Path) -> None:
    torch.set_num_threads(1)
    task = json.loads((run / "cases.json").read_text())
    ids = torch.tensor(task["ids"])
    for name, case in task["cases"].items():
        from_export(run, name, case, ids)
    model = load(task["merged"])
    figure, passed = close(np.load(run / "merged.npy"), logits(model, ids))
    say(run, TRANSFORMERS, "from_pretrained: merged policy (--bits 0)", figure, passed)
    for number, (name, case) in enumerate(task["cases"].items()):
        for_import(run, name, case, ids, number)
    rows_out(run)
    rows_in(run)
    points(run)


def load(folder: str) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: torch.nn.Module, ids: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(ids).logits.float().numpy()


def close(ours: np.ndarray, theirs: np.ndarray) -> tuple[str, bool]:
    worst, size = float(np.abs(ours - theirs).max()), float(np.abs(ours).max())
    return f"max |Δ logit| {worst:.1e} of {size:.1f}", worst <= 1e-4 * size


def from_export(run: Path, name: str, case: dict, ids: torch.Tensor) -> None:
    """PEFT's logits of the exported adapter, beside ours of the stacked adapters on the same dense base."""
    model = PeftModel.from_pretrained(load(case["base"]), case["adapter"])
    theirs = logits(model, ids)
    figure, passed = close(np.load(run / f"{name}.npy"), theirs)
    base = "gemma, its 4-bit base made dense" if name == "rl" else name
    say(run, PEFT, f"from_pretrained: {base}", figure, passed)
    if name == "rl":
        ours = np.load(run / "rl-4bit.npy").astype(np.float64)
        kl = divergence(theirs.astype(np.float64), ours)
        say(run, PEFT, "the same beside the policy on its 4-bit base", f"KL {kl:.1e} nats a token", kl < 1e-3)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Mean KL(p ‖ q) of logits: the base's weights are rounded to bf16 once when it is made dense."""
    p, q = (x - x.max(-1, keepdims=True) for x in (p, q))
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def for_import(run: Path, name: str, case: dict, ids: torch.Tensor, number: int) -> None:
    """An adapter that PEFT makes, with ranks and alphas by pattern, every other one rank-stabilised, and its logits."""
    torch.manual_seed(number)
    config = LoraConfig(
        r=6,
        lora_alpha=9,
        target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"up_proj": 3, "layers.1.self_attn.q_proj": 2},
        alpha_pattern={"v_proj": 5},
        use_rslora=number % 2 == 1,
        init_lora_weights=False,  # B is not zero
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(load(case["base"]), config)
    model.save_pretrained(run / f"{name}-made-by-peft")
    np.save(run / f"{name}-made-by-peft.npy", logits(model.eval(), ids))


def rows_out(run: Path) -> None:
    """Every row of every exported table as `datasets` loads it, beside the artifact's own lines."""
    for form, chats in (("data-no-chats", False), ("data-chats", True)):
        equal = total = 0
        counts = json.loads((run / form / "align-export.json").read_text())["rows"]
        for name, splits in counts.items():
            for split in splits:
                path = run / "store" / "data" / (f"{name}.jsonl" if name == "corpus" else f"{name}/{split}.jsonl")
                wanted = [json.loads(line) for line in path.read_text().splitlines()]
                found = datasets.load_dataset(str(run / form), name, split=split, cache_dir=str(run / "cache"))
                equal += sum(plain(a) == b for a, b in zip(found, wanted, strict=True))
                total += len(wanted)
        what = "load_dataset: export, " + ("as TRL's chats" if chats else "as text")
        say(run, DATASETS, what, f"rows equal {equal}/{total}", equal == total)


def plain(row: dict) -> dict:
    """A row as the artifact has it: texts for chats of one message, checks as an object, no nulls."""
    found = {name: value for name, value in row.items() if value is not None}
    for name in ("prompt", "chosen", "rejected"):
        if isinstance(found.get(name), list):
            (found[name],) = (turn["content"] for turn in found[name])
    if "checks" in found:
        found["checks"] = json.loads(found["checks"])
    return found


def points(run: Path) -> None:
    """What TensorBoard and trackio show of a GRPO run that was tracked, beside its own log."""
    log = [json.loads(line) for line in (run / "store" / "tracked" / "train.jsonl").read_text().splitlines()]
    wanted = {(row["iteration"], np.float32(row["reward_mean"])) for row in log}
    (folder,) = (run / "store" / "tracking" / "tensorboard").iterdir()
    shown = EventAccumulator(str(folder)).Reload()
    found = [(point.step, np.float32(point.value)) for point in shown.Scalars("train/reward_mean")]
    figure, passed = f"points equal {len(wanted & set(found))}/{len(log)}", sorted(wanted) == found
    evals = sum("eval" in row for row in log)
    passed &= len(shown.Scalars("eval/kl")) == evals
    say(run, f"tensorboard {tensorboard.__version__}", "--track tensorboard: reward and evaluations", figure, passed)
    lines = run / "lines-of-a-run"
    for tracker in ("trackio", "wandb"):
        watch = run / tracker
        for part in (log[:2], log[1:]):  # killed after the second step, resumed from the first
            fed = [{"kind": "train", "step": r["iteration"], "values": {"reward": r["reward_mean"]}} for r in part]
            lines.write_text("".join(json.dumps(line) + "\n" for line in fed))
            with lines.open() as text:
                command = [sys.executable, "-P", WRITER, tracker, str(watch), "grpo", "settings"]
                done = subprocess.run(command, stdin=text, capture_output=True, text=True, check=False, timeout=120)
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
        found = (in_trackio if tracker == "trackio" else in_wandb)(watch)
        figure = f"points equal {len(set(found) & wanted)}/{len(log)}"
        version = importlib.metadata.version(tracker)
        say(run, f"{tracker} {version}", f"--track {tracker}, resumed once", figure, found == sorted(wanted))


def in_trackio(watch: Path) -> list[tuple[int, np.float32]]:
    os.environ["TRACKIO_DIR"] = str(watch / "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_runs("align")
    return sorted((row["step"], np.float32(row["reward"])) for row in SQLiteStorage.get_logs("align", run))


def in_wandb(watch: Path) -> list[tuple[int, np.float32]]:
    """The history of offline runs: protobuf records, each behind its checksum, length and kind (LevelDB's log)."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for path in watch.rglob("*.wandb"):
        data, at = path.read_bytes(), 7
        assert len(data) < 32768  # one block
        while at < len(data):
            length, _ = struct.unpack_from("<HB", data, at + 4)
            record = wandb_internal_pb2.Record.FromString(data[at + 7 : at + 7 + length])
            at += 7 + length
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if "reward" in items:
                found.append((items["_step"], np.float32(items["reward"])))
    return sorted(found)


def rows_in(run: Path) -> None:
    """Preferences as TRL has them, saved by `datasets` in three ways."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is number {i}?"}],
            "chosen": [{"role": "assistant", "content": f"It is the number {i}."}],
            "rejected": [{"role": "assistant", "content": f"No idea about {i}."}],
        }
        for i in range(60)
    ]
    table = datasets.Dataset.from_list(rows)
    datasets.DatasetDict({"train": table}).save_to_disk(str(run / "in-saved"))
    for form in ("parquet", "jsonl"):
        (run / f"in-{form}").mkdir()
    table.to_parquet(str(run / "in-parquet" / "train.parquet"))
    table.to_json(str(run / "in-jsonl" / "train.jsonl"))
    (run / "in.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
