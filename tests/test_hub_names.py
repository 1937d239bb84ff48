"""Models and datasets by their names on the hub: installed scripts and the real client against a hub on this machine.

Each test has a cache of its own; nothing leaves the machine.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align_contracts import open_artifact
from tiny.hub import COMMIT, Hub, serving
from tiny.models import make_model, save_model
from tiny.rows import turns
from tiny.templates import LLAMA32
from tiny.tokenizer import bpe_tokenizer

BIN = Path(sys.executable).parent
CARD = """---
license: llama3.2
configs:
- config_name: default
  data_files:
  - split: train_prefs
    path: data/train_prefs-*
  - split: test_prefs
    path: data/test_prefs-*
---
"""
NEEDED = {"README.md", "chat_template.jinja", "config.json", "model.safetensors.index.json", "tokenizer.json"}
NEEDED |= {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer_config.json"}
SIZES = ("--target-size", "24", "--validation", "4", "--calibration", "4", "--gold", "4", "--test", "3")
TOKEN = "hf_canary0123456789"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repositories")
    tokenizer = bpe_tokenizer(LLAMA32)
    model, config = make_model("llama", vocab=len(tokenizer))
    save_model(folder / "model", model, config, tokenizer, shards=2)
    (folder / "model" / "original").mkdir()
    for name in ("pytorch_model.bin", "modeling_llama.py", "original/params.json"):  # nobody needs, and nobody runs
        (folder / "model" / name).write_text("raise SystemExit(99)")
    (folder / "data" / "data").mkdir(parents=True)
    for split, first, last in (("train_prefs", 0, 45), ("test_prefs", 45, 51)):
        rows = pa.Table.from_pylist([row(i) for i in range(first, last)])
        pq.write_table(rows, folder / "data" / "data" / f"{split}-00000-of-00001.parquet")
    for name in ("model", "data"):
        (folder / name / "README.md").write_text(CARD)
    return folder


def row(i: int) -> dict:
    question = ("What is the colour of fox {}?", "Put water into pot {}.", "Write a poem about owl {}.")[i % 3].format(
        i
    )
    answers = {"chosen": turns(question, f"The fox {i} is red."), "rejected": turns(question, "Wait.")}
    return {"prompt": question, "prompt_id": f"{i:064x}", **answers, "score_chosen": 5 + i % 4, "score_rejected": 1.0}


@pytest.fixture
def hub(repositories):
    with serving(Hub({"maker/tiny": repositories / "model"}, {"maker/prefs": repositories / "data"})) as hub:
        yield hub


@pytest.fixture
def call(hub, tmp_path):
    """Runs a script with an empty cache; what it wrote is in `tmp_path`."""

    def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), **environment}
        done = subprocess.run(
            [BIN / script, *arguments], capture_output=True, text=True, env=env, cwd=tmp_path, check=False, timeout=120
        )
        assert "Traceback" not in done.stderr
        return done

    return run


def base(call, model: str, out: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return call("align-sft", "base", "--model", model, "--out", out, "--group-size", "32", *more, **environment)


def data(call, source: str, out: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return call("align-data", "build", "--source", source, "--out", out, "--quiet", *SIZES, **environment)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_a_model_by_name_then_offline_then_from_a_copy_of_the_cache(call, hub, tmp_path):
    hub.cut = {"model-00002-of-00002.safetensors"}  # the connection breaks once in the middle of a file
    done = base(call, "maker/tiny", "online", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    fetched = {line.split("/")[-1] for line in hub.asked if line.startswith("GET") and "/resolve/" in line}
    assert fetched == NEEDED
    assert hub.tokens == {f"Bearer {TOKEN}"}  # the client's own business …
    written = [path for path in (tmp_path / "online").rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)  # … and never ours
    assert TOKEN not in done.stdout + done.stderr
    details = open_artifact(tmp_path / "online", "base_model", deep=True).details
    assert (details.source, details.revision, details.license) == ("hf:maker/tiny", COMMIT, "llama3.2")

    hub.down = True
    assert base(call, "maker/tiny", "offline", HF_HUB_OFFLINE="1").returncode == 0
    kept = Path("models--maker--tiny") / "snapshots"
    shutil.copytree(tmp_path / "cache" / "hub" / kept, tmp_path / "copy" / kept)  # links become files
    assert base(call, str(tmp_path / "copy" / kept / COMMIT), "copied", HF_HUB_OFFLINE="1").returncode == 0
    digests = {open_artifact(tmp_path / name).content_digest for name in ("online", "offline", "copied")}
    assert len(digests) == 1


def test_weights_that_came_with_another_byte_are_refused(call, hub, tmp_path):
    """The client compares sizes; the digest that the hub told is compared by us."""
    hub.spoiled = {"model-00001-of-00002.safetensors"}
    done = base(call, "maker/tiny", "out")
    assert done.returncode == 3
    assert "model-00001-of-00002.safetensors of maker/tiny came with other bytes" in last_line(done)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fault", "arguments", "code", "says"),
    [
        ({"gated": True}, ("maker/tiny",), 2, "is gated: its licence has to be accepted"),
        ({}, ("maker/other",), 2, "no such model, or it is private"),
        ({}, ("maker/tiny", "--revision", "v9"), 2, "maker/tiny has no revision v9"),
        ({"down": True}, ("maker/tiny",), 6, "the hub cannot be reached for model maker/tiny"),
    ],
    ids=["gated", "unknown", "revision", "down"],
)
def test_a_model_that_cannot_be_had_is_one_message(call, hub, tmp_path, fault, arguments, code, says):
    for name, value in fault.items():
        setattr(hub, name, value)
    done = base(call, arguments[0], "out", *arguments[1:])
    assert (done.returncode, done.stdout) == (code, "")
    assert last_line(done).startswith("error: ")
    assert says in last_line(done)
    assert "Got: " not in last_line(done)
    assert not (tmp_path / "out").exists()


def test_a_dataset_by_name_then_offline_then_from_a_copy_of_the_cache(call, hub, tmp_path):
    done = data(call, "maker/prefs", "online")
    assert done.returncode == 0, done.stderr
    details = open_artifact(tmp_path / "online", "dataset", deep=True).details
    assert (details.source, details.revision, details.license) == ("hf:maker/prefs", COMMIT, "llama3.2")

    assert data(call, "hf:maker/prefs", "offline", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1").returncode == 0
    kept = Path("datasets--maker--prefs") / "snapshots"
    shutil.copytree(tmp_path / "cache" / "hub" / kept, tmp_path / "copy" / kept)
    assert data(call, str(tmp_path / "copy" / kept / COMMIT), "copied").returncode == 0
    digests = {open_artifact(tmp_path / name).content_digest for name in ("online", "offline", "copied")}
    assert len(digests) == 1


def test_a_gated_dataset_says_what_to_do(call, hub, tmp_path):
    hub.gated = True
    done = data(call, "maker/prefs", "out")
    assert done.returncode == 2
    assert "no dataset hf:maker/prefs that can be read" in last_line(done)
    assert "log in with `hf auth login`" in last_line(done)
    assert not (tmp_path / "out").exists()
