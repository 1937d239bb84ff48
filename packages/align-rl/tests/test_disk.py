"""A run asks for disk before it begins, and never takes more than it asked for."""

from collections import namedtuple
from pathlib import Path

import pytest

from align_contracts import PreflightError, open_artifact, space
from align_contracts.space import tree_bytes
from align_rl import run as rl_run
from align_rl.disk import parts
from align_rl.prepare import prepare
from align_rl.run import run

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _inputs(store, monkeypatch):
    monkeypatch.setenv("ALIGN_STORE", str(store))


def test_parts_by_hand(configure, store):
    config = configure("grpo", num_iterations=5, eval_every=2, keep_checkpoints=1)
    sft = open_artifact(store / "sft")
    ready = prepare(config, sft, open_artifact(store / "rm"), open_artifact(store / "data"))
    numbers = sum(value.size for value in ready.state.params.values())  # GRPO trains the policy's adapter alone
    # points at 0, 2, 4 and 5, twice: bf16 weights, and 5 prompts of 10 tokens of 80 bytes; one checkpoint kept and one
    # in the making, each with parameters, two moments and the best so far
    assert parts(ready, sft) == {
        "the adapter": 4 * numbers,
        "1 + 1 checkpoints": 2 * 4 * 4 * numbers,
        "4 evaluation points": 2 * 4 * (2 * numbers + 5 * 10 * 80),
        "the SFT adapter": (store / "sft" / "adapter.safetensors").stat().st_size,
    }


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_run_takes_less_than_it_asked_for(method, configure, monkeypatch):
    asked = []
    monkeypatch.setattr(rl_run, "require_space", lambda target, needed, there: asked.append(needed))
    config = configure(method, checkpoint_every=1)
    most, reached = 0, rl_run.Run.reached

    def watch(self, state):
        nonlocal most
        reached(self, state)
        most = max(most, tree_bytes(config.out.parent))

    monkeypatch.setattr(rl_run.Run, "reached", watch)
    run(config)
    logs = tree_bytes(config.out) - sum(
        file.size
        for file in open_artifact(config.out).manifest.files
        if file.path.endswith((".safetensors", "s.jsonl"))
    )  # manifest, curve, log: some kilobytes, which the margin covers where adapters are of real size
    assert 0 < most <= sum(asked[0].values()) + logs
    assert tree_bytes(config.out) <= sum(asked[0].values()) + logs


def test_without_room_nothing_begins(configure, monkeypatch):
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    config = configure("ppo")
    with pytest.raises(PreflightError, match=r"needs more disk than there is: .*3 evaluation points.*B free"):
        run(config)
    assert not Path(config.out).exists()
