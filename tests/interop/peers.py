"""Second part, with the peers (PyTorch, transformers, PEFT, datasets): loads what left, makes what comes in.

python peers.py RUN        RUN is the folder that the first part has filled
"""

import json
import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import datasets
import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from lines import say

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
