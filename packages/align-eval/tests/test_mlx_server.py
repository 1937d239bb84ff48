"""Judging through mlx_lm.server: a real server with a real, if tiny, model on loopback."""

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from fake_study import FakeStudy

from align_contracts import console, open_artifact
from align_eval.cli import COMMANDS
from align_eval.judges.prompt import load_prompt
from tiny.models import make_model, save_model
from tiny.templates import LLAMA3
from tiny.tokenizer import bpe_tokenizer, fill_words, word_tokenizer

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def babbler(path: Path) -> Path:
    """A random model: whatever it is asked, it writes nonsense."""
    tokenizer = bpe_tokenizer(LLAMA3)
    return save_model(path, *make_model("llama", vocab=len(tokenizer)), tokenizer)


def always_a(path: Path) -> Path:
    """A model rigged to write "Verdict: A": nothing but the last token counts, and each has one successor."""
    words = fill_words("Verdict:", "A", chat=LLAMA3)
    tokenizer = word_tokenizer(LLAMA3, words)
    model, config = make_model("llama", tied=False, hidden=64)
    follows = np.zeros((64, 64), dtype=np.float32)  # [next, last]
    verdict, a, end, opened = (tokenizer.convert_tokens_to_ids(t) for t in ("Verdict:", "A", LLAMA3.eos, "\n\n"))
    follows[end] = 1.0
    for last, after in ((opened, verdict), (verdict, a)):
        follows[:, last], follows[after, last] = 0.0, 1.0
    rigged = {"model.embed_tokens.weight": mx.eye(64), "lm_head.weight": mx.array(follows)}
    rigged["model.norm.weight"] = mx.ones(64)
    for i in range(config["num_hidden_layers"]):  # no block adds anything to the embedding
        rigged[f"model.layers.{i}.self_attn.o_proj.weight"] = mx.zeros((64, 64))
        rigged[f"model.layers.{i}.mlp.down_proj.weight"] = mx.zeros((64, 128))
    model.load_weights(list(rigged.items()), strict=False)
    return save_model(path, model, config, tokenizer)


@pytest.fixture
def mlx_server(tmp_path) -> Iterator[Callable[[Path], str]]:
    """Start mlx_lm.server with a model; gives its base URL."""
    processes = []

    def start(model: Path) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlx_lm", "server", "--model", model, "--port", str(port)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        log = open(tmp_path / "server.log", "wb")  # noqa: SIM115 - the server keeps it
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        processes.append(process)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.1)
            else:
                return f"http://127.0.0.1:{port}/v1"
        raise AssertionError((tmp_path / "server.log").read_text())

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def judging(tmp_path, monkeypatch):
    """Judge four pairs of answers through the console script; its exit code."""
    for name in (*PROXIES, "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    study = FakeStudy(tmp_path / "study", prompts=4, validation=3)
    base = study.make_responses(study.sft, skill=0.3)
    other = study.make_responses(study.sft, skill=0.9, seed=1, name="responses-aa")

    def judge(url: str, *more: str) -> int:
        arguments = ["--candidate", other.path, "--baseline", base.path, "--out", tmp_path / "study" / "judgments"]
        arguments += ["--judge", "openai:default_model", "--base-url", url, "--cache", tmp_path / "replies.sqlite3"]
        arguments += ["--max-reply-tokens", "16", *more]
        return console.main("align-eval", "", COMMANDS, ["judge", *map(str, arguments)])

    return judge


def test_a_model_that_writes_nonsense_gives_invalid_verdicts_and_no_crash(mlx_server, judging, tmp_path, capsys):
    assert judging(mlx_server(babbler(tmp_path / "model"))) == 5
    said = capsys.readouterr().err
    assert "the endpoint does not keep to JSON schemas: labels are read" in said
    assert said.splitlines()[-1].startswith("error: 4 of 4 pairs have no usable verdict: expected at most 2%")
    assert not (tmp_path / "study" / "judgments").exists()


def test_a_model_that_always_says_a_gives_ties_and_an_alarm(mlx_server, judging, tmp_path, capsys):
    url = mlx_server(always_a(tmp_path / "model"))
    assert judging(url) == 0
    assert "100 % ties, above 30 %" in capsys.readouterr().out
    published = open_artifact(tmp_path / "study" / "judgments", deep=True)
    details = published.details
    assert (details.wins, details.losses, details.ties, details.invalid) == (0, 0, 4, 0)
    assert (details.judge, details.model, details.reply_form) == ("openai:default_model", "default_model", "label")
    assert details.judge_prompt_digest == hashlib.sha256(load_prompt("label").encode()).hexdigest()
    assert {(row["forward"], row["backward"]) for row in published.read_jsonl("verdicts")} == {
        ("candidate", "baseline")
    }
    # A rerun asks nothing, not even what the endpoint can do.
    assert judging(url, "--overwrite") == 0
    assert "0 questions to ask, 8 answered before" in capsys.readouterr().err
