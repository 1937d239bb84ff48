"""First part, our environment: makes the policies, exports them, and tries them in mlx-lm.

python -m interop.leaving RUN        RUN is an empty folder
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
from mlx_lm.generate import stream_generate

import align_mlx  # noqa: F401 · before mlx.core, so that MLX finds a fast BLAS
from align_contracts import Artifact, open_artifact
from align_mlx.chat import decode_response, encode_prompt
from align_mlx.compute import Compute
from align_mlx.loading import load_base, load_policy, policy_adapters
from align_mlx.rollout import Draw, Prompt, sample
from interop.cases import EXACT, IDS, OTHERS, align, chain, close, logits, other
from interop.lines import say

MLX_LM = f"mlx-lm {mlx_lm.__version__}"
NEW_TOKENS = 40


def main(run: Path) -> None:
    store = run / "store"
    store.mkdir()
    chain(store)
    rl = open_artifact(store / "rl")
    align("align-sft merge --bits 0 --quiet", "--policy", rl.path, "--out", store / "merged")
    align("align-sft base --bits 0", "--model", store / "base", "--out", store / "base-dense")
    policies = {"rl": rl, **{family: other(family, store) for family in OTHERS}}
    for name, policy in policies.items():
        for form in ("mlx-lm", "peft"):
            align(f"align-sft export --quiet --format {form}", "--policy", policy.path, "--out", run / f"{name}-{form}")
        in_mlx_lm(run, name, policy)
    generation(run, open_artifact(store / "merged"), rl.input("dataset"))
    for chats in ("chats", "no-chats"):
        align(f"align-data export --quiet --{chats}", "--data", store / "data", "--out", run / f"data-{chats}")
    hand_over(run, policies)


def in_mlx_lm(run: Path, name: str, policy: Artifact) -> None:
    """mlx-lm's logits of base and exported adapter, beside ours of base and stacked adapters."""
    model, _ = mlx_lm.load(str(policy.input("base").path), adapter_path=str(run / f"{name}-mlx-lm"))
    model.set_dtype(mx.float32)
    ours = logits(policy)
    figure, passed = close(ours, np.array(model(mx.array(IDS))))
    moved = float(np.abs(ours - logits(policy, bare=True)).max())
    base = "4-bit gemma" if name == "rl" else name
    compared = f"load(adapter_path): {base}, {len(policy.details.adapters)} adapters as one"
    say(run, MLX_LM, compared, f"{figure}; adapters move {moved:.1f}", passed and moved > 0.01 * np.abs(ours).max())


def generation(run: Path, merged: Artifact, data: Artifact) -> None:
    """Greedy answers of the merged policy: our tokens and texts beside mlx-lm's, in the number format mlx-lm uses."""
    resident = load_policy(merged, Compute(mx.bfloat16, dense=False))
    questions = [row["prompt"] for row in data.read_jsonl("prompts_train")[:24]]
    prompts = [Prompt(encode_prompt(resident.tokenizer, text), i) for i, text in enumerate(questions)]
    answers = sample(resident, (), prompts, draw=Draw(0), max_new_tokens=NEW_TOKENS, temperature=0.0)
    ours = [list(answer.tokens.response) for answer in answers]
    model, tokenizer = mlx_lm.load(str(merged.path))
    equal = total = 0
    for prompt, tokens in zip(prompts, ours, strict=True):
        theirs = [step.token for step in stream_generate(model, tokenizer, list(prompt.ids), max_tokens=NEW_TOKENS)]
        equal += sum(a == b for a, b in zip(tokens, theirs, strict=False))
        total += max(len(tokens), len(theirs))
    say(
        run,
        MLX_LM,
        "stream_generate, greedy, merged policy, 24 prompts",
        f"tokens equal {equal}/{total}",
        equal == total,
    )
    texts = [decode_response(resident.tokenizer, tokens, resident.end_tokens) for tokens in ours]
    said = [by_command(merged.path, question) for question in questions[:2]]
    same = sum(a == b for a, b in zip(texts, said, strict=False))
    say(run, MLX_LM, "mlx_lm.generate, the command, merged policy", f"texts equal {same}/2", same == 2)
    with server(merged.path) as ask:
        same = sum(ask(question) == text for question, text in zip(questions, texts, strict=True))
    compared = "mlx_lm.server, chat completions, temperature 0"
    say(run, MLX_LM, compared, f"texts equal {same}/{len(texts)}", same == len(texts))


def by_command(model: Path, question: str) -> str:
    options = ["--temp", "0", "--max-tokens", str(NEW_TOKENS), "--verbose", "False"]
    command = [sys.executable, "-m", "mlx_lm", "generate", "--model", str(model), "--prompt", question, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()


@contextmanager
def server(model: Path) -> Iterator:
    """mlx-lm's own server on a free port of the loopback; gives a function that asks it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlx_lm", "server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def ask(question: str) -> str:
        body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": NEW_TOKENS}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(json.load(reply)["choices"][0]["message"]["content"]).strip()

    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=30)


def hand_over(run: Path, policies: dict[str, Artifact]) -> None:
    """Our logits for the peers: of each policy on the dense base that transformers loads, and of the merged one."""
    cases = {}
    for name, policy in policies.items():
        dense = run / "store" / ("base-dense" if name == "rl" else f"base-{name}")
        resident = load_base(dense, EXACT)
        for adapter in policy_adapters(policy):
            resident.share(adapter)
        np.save(run / f"{name}.npy", np.array(resident.logits(resident.hidden(mx.array(IDS)))))
        cases[name] = {"base": str(dense), "adapter": str(run / f"{name}-peft")}
    np.save(run / "merged.npy", logits(open_artifact(run / "store" / "merged")))
    np.save(run / "rl-4bit.npy", logits(policies["rl"]))
    (run / "cases.json").write_text(json.dumps({"ids": IDS, "cases": cases, "merged": str(run / "store" / "merged")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
