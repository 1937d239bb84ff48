"""Small artifacts of every kind, and an independent writer of safetensors files."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from align_contracts import open_artifact, publish

ADAPTER = {
    "name": "sft",
    "file": "adapter.safetensors",
    "rank": 2,
    "alpha": 4.0,
    "layers": 1,
    "targets": ["q_proj"],
}
SELECTION = {"rule": "reward", "step": 5, "gate_passed": True, "kl": 0.01, "perplexity": 3.0, "reward": 1.0}
DETAILS = {
    "dataset": {
        "source": "embedded",
        "license": "MIT",
        "split_seed": 42,
        "counts": {"rows": 2},
        "categories": {"test": {"factual": 1}},
        "formats": ["chosen"],
        "has_checks": True,
    },
    "base_model": {
        "architecture": "gemma",
        "hidden_size": 2,
        "num_layers": 1,
        "vocab_size": 4,
        "parameters": 8,
        "quantization": {"bits": 4, "group_size": 64},
        "source": "embedded",
        "license": "gemma",
        "embedded": True,
    },
    "policy": {
        "method": "sft",
        "form": "residual",
        "format": "chosen",
        "adapters": [ADAPTER],
        "seed": 42,
        "selection": SELECTION,
        "merge": None,
        "control": "none",
    },
    "reward_model": {
        "adapter": ADAPTER,
        "head_file": "adapter.safetensors",
        "backbone": "policy",
        "split": "train",
        "pairwise_accuracy": 0.75,
        "ece_before": 0.125,
        "ece_after": 0.0625,
        "temperature": 1.5,
        "calibration": {"mean": 0.5, "std": 1.0, "n": 2},
        "max_length": 32,
    },
    "responses": {
        "policy_method": "sft",
        "prompts": 1,
        "split": "test",
        "temperature": 0.7,
        "top_p": 1.0,
        "max_new_tokens": 8,
        "sampling_seed": 1,
        "scored": False,
    },
    "judgments": {
        "judge": "reference",
        "prompts": 1,
        "wins": 1,
        "losses": 0,
        "ties": 0,
        "invalid": 0,
        "swapped": True,
    },
    "report": {"runs": 1, "methods": {"ppo": [42]}},
}


def pack(tensors: dict, metadata: dict | None = None) -> bytes:
    """Write {name: (dtype, shape, data)} in the safetensors layout."""
    header: dict = {"__metadata__": metadata} if metadata is not None else {}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


WEIGHTS = {
    "lora_b": ("BF16", [2, 1], bytes.fromhex("803f0040")),  # 1.0 and 2.0
    "lora_a": ("F32", [1, 2], struct.pack("<2f", 0.5, -0.25)),
}


def fill(draft, details: dict) -> None:
    """Write the files that an artifact of the draft's kind has in these tests."""
    draft.details = details
    draft.seeds = [42]
    if draft.kind == "dataset":
        draft.write_jsonl("rows.jsonl", [{"prompt_id": "a"}, {"prompt_id": "b"}], role="rows")
        draft.write_text("notes/card.md", "# Card\n", role="card")
        draft.write_jsonl("time.jsonl", [{"seconds": 1.0}], role="time", volatile=True)
        draft.metric("rows", 2, n=2)
    elif draft.kind in {"base_model", "policy", "reward_model"}:
        draft.tokenizer_digest = "a" * 64
        draft.file("adapter.safetensors", role="adapter").write_bytes(pack(WEIGHTS))
        draft.write_json("config.json", {"model_type": "gemma"}, role="config")
        draft.metric("perplexity", 4.0)
        draft.metric("perplexity", 3.0, step=50)
    else:
        draft.write_jsonl("rows.jsonl", [{"prompt_id": "a"}], role="rows")


@pytest.fixture
def deep():
    """Skip where the extra `deep` is not installed."""
    pytest.importorskip("numpy")
    pytest.importorskip("safetensors")


@pytest.fixture
def write_safetensors():
    """The independent safetensors writer: {name: (dtype, shape, data)} to bytes."""
    return pack


@pytest.fixture
def details():
    """A valid `details` section of each kind."""
    return json.loads(json.dumps(DETAILS))


def make_artifact(path, kind, inputs=None, config=None, overwrite=False, **changed):
    """Publish a small artifact; `changed` replaces fields of its details."""
    with publish(
        path,
        kind,
        producer="align-contracts",
        config=config or {"seed": 42},
        inputs=inputs or {},
        overwrite=overwrite,
    ) as draft:
        fill(draft, {**DETAILS[kind], **changed})
    return open_artifact(path)


@pytest.fixture
def make():
    """Publish a small artifact: make(path, kind, inputs=…, config=…, overwrite=…, **details)."""
    return make_artifact


def build_run(root: Path) -> Path:
    """Publish data → base → sft → rm → ppo-42 → responses → judgments → report below a directory."""
    data = make_artifact(root / "data", "dataset")
    base = make_artifact(root / "base", "base_model", {"dataset": data})
    below = {"base": base, "dataset": data}
    sft = make_artifact(root / "sft", "policy", below)
    rm = make_artifact(root / "rm", "reward_model", {**below, "policy": sft})
    ppo = make_artifact(root / "ppo-42", "policy", {**below, "policy": sft, "reward_model": rm}, method="ppo")
    answers = {
        policy.name: make_artifact(
            root / f"responses-{policy.name}",
            "responses",
            {**below, "policy": policy},
            policy_method=policy.details.method,
        )
        for policy in (sft, ppo)
    }
    judged = make_artifact(
        root / "judgments-ppo-42",
        "judgments",
        {"candidate": answers["ppo-42"], "baseline": answers["sft"], "dataset": data},
    )
    make_artifact(root / "report", "report", {"judgments": [judged], "policies": [ppo]})
    return root


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A whole small run; do not change it (take `run` for that)."""
    return build_run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the whole small run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
