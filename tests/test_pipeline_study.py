"""The forecast of a whole study: sizes, operations, bytes and dollars by hand and against published figures."""

import json
import shlex
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from align_contracts import PreflightError, space
from pipeline.__main__ import main
from pipeline.plan import plan
from pipeline.shape import Shape, shape_of
from pipeline.study import known_work, require_disk, study
from pipeline.work import work_of

RECIPES = Path(__file__).parents[1] / "recipes"
STUDY, EMBEDDED = RECIPES / "gemma-2b-ultrafeedback.toml", RECIPES / "embedded.toml"


def steps_of(recipe: Path, out: Path, *sets: str):
    return plan(recipe, out, sets)


def shape(recipe: Path, out: Path, *sets: str) -> Shape:
    base = next(one for one in steps_of(recipe, out, *sets)[1] if one.step.name == "base")
    return shape_of(base.config, base.target)


def test_parameters_of_gemma_2b_are_the_published_ones(tmp_path):
    # 2 506 172 416 with the norms: two of width 2048 a block, and one
    assert shape(STUDY, tmp_path).parameters + (2 * 18 + 1) * 2048 == 2_506_172_416


def test_an_adapter_by_hand(tmp_path):
    # inputs + outputs: q 4096, k and v 2304 each, o 4096, gate, up and down 18432 each; 16 blocks of rank 16
    assert shape(STUDY, tmp_path).lora(16, 16) == 16 * 16 * (4096 + 2 * 2304 + 4096 + 3 * 18432)
    assert shape(STUDY, tmp_path).lora(1, 64) == shape(STUDY, tmp_path).lora(1, 18)


def test_stored_bytes_by_hand(tmp_path):
    one = Shape(hidden=64, layers=1, wide=64, queries=64, keys=64, vocabulary=64, source="")
    assert one.parameters == 8 * 64 * 64  # seven maps and the embedding
    # 4 bits a weight, and 2 + 2 bytes for each 64 of them
    assert one.stored_bytes(4, 64) == one.parameters // 2 + one.parameters // 64 * 4
    assert one.stored_bytes(0, 64) == 2 * one.parameters


def test_the_shape_is_read_where_it_stands(tmp_path):
    config = {
        "num_attention_heads": 4,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "vocab_size": 100,
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    sets = ("base.embedded=false", f"base.model={tmp_path / 'model'}")
    found = shape(EMBEDDED, tmp_path / "out", *sets)
    assert (found.queries, found.keys, found.wide) == (32, 32, 48)  # heads of 32 / 4, as many for keys
    (tmp_path / "model" / "config.json").write_text(json.dumps({"d_model": 32}))
    assert shape(EMBEDDED, tmp_path / "out", *sets) is None
    assert shape(EMBEDDED, tmp_path / "out", "base.embedded=false", "base.model=maker/other") is None
    (tmp_path / "out" / "base").mkdir(parents=True)
    (tmp_path / "out" / "base" / "config.json").write_text(json.dumps(config))
    assert shape(EMBEDDED, tmp_path / "out", "base.embedded=false", "base.model=maker/other") == replace(
        found, source="the base artifact"
    )


def test_a_grpo_iteration_of_the_study_is_about_a_petaflop(tmp_path):
    steps = steps_of(STUDY, tmp_path)[1]
    work = work_of(steps, shape(STUDY, tmp_path))
    assert 0.8e15 < work["grpo-42"].flop / 800 < 1.5e15
    assert work["ppo-42"].flop < work["grpo-42"].flop / 2  # 16 answers with a critic against 96 without


def test_operations_of_a_small_run_by_hand(tmp_path):
    sets = ("pipeline.seeds=[1]", "rl.num_iterations=3", "rl.eval_every=3", "rl.eval_prompts=5", "rl.batch_size=4")
    sets += ("rl.minibatches=1", "grpo.K=2", "rl.lora_layers=1", "rl.gradient_checkpointing=false")
    steps = steps_of(EMBEDDED, tmp_path, *sets)[1]
    tiny = Shape(hidden=1, layers=1, wide=1, queries=1, keys=1, vocabulary=3, source="")  # block 7, head 3
    # a token: forward 2 · 10, reward model 2 · 7, update 20 forward, 6 + 14 backward; 8 answers of 40 + 48 tokens;
    # sampling reads 4 · 40 tokens of prompts and 8 · 48 of answers; points at 0 and 3: 5 · 88 tokens, 3 · 20 + 14 each
    iteration = (4 * 40 + 8 * 48) * 20 + 8 * 88 * (20 + 14 + 40)
    assert work_of(steps, tiny)["grpo-1"].flop == 3 * iteration + 2 * 5 * 88 * (3 * 20 + 14)


def test_what_is_there_takes_nothing_more(tmp_path):
    steps = steps_of(EMBEDDED, tmp_path)[1]
    _, work = known_work(steps, [True] * len(steps))
    assert sum(one.flop + one.disk + one.scratch for one in work.values()) == 0


def test_a_disk_too_small_for_the_chain_is_told_before_it_begins(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage(0, 0, 5 * 2**30))
    steps = steps_of(STUDY, tmp_path)[1]
    with pytest.raises(
        PreflightError, match=r"needs more disk .*artifacts .* GiB, checkpoints and run folders .*5 GiB free"
    ):
        require_disk(tmp_path, steps, [False] * len(steps), 1)
    require_disk(tmp_path, steps, [True] * len(steps), 1)


def test_the_bill_at_most(tmp_path):
    settings, steps = steps_of(STUDY, tmp_path)
    bill = next(line for line in study(settings, steps, [False] * len(steps), 1.0) if "judge" in line)
    # 7 judgings of 300 pairs in both orders; 500 + 2048 + 2 · 256 tokens read at $0.15 a million, 300 written at $0.60
    dollars = 7 * 300 * 2 * (3060 * 0.15 + 300 * 0.60) / 1e6
    assert (
        bill == f"  judge   ${dollars:.2f} at most for 4200 calls of gpt-4o-mini, each text at its longest; cap $14.00"
    )


def test_the_dry_run_says_it_all(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    out = tmp_path / "out"
    assert main(["--recipe", str(STUDY), "--out", str(out), "--dry-run", "--tflops", "6.8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("align-") for line in lines) == 32
    told = [line[4:].split()[0] for line in lines if line.startswith("#   ") and line[4] != " "]
    assert told == ["time", "disk", "memory", "judge", "effect"]
    assert not out.exists()
    assert main(["--tflops", "0"]) == 2
    assert "--tflops: expected greater than 0, got '0'" in capsys.readouterr().err


def test_the_plan_for_programs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    call = ["--recipe", str(STUDY), "--out", str(tmp_path / "out"), "--dry-run", "--tflops", "6.8", "--seeds", "5"]
    assert main([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(call) == 0
    plain = capsys.readouterr().out.splitlines()
    assert [shlex.join(one["command"]) for one in told["steps"]] == [one for one in plain if one.startswith("align-")]
    assert [f"# {line}" for line in told["forecast"]] == [one for one in plain if one.startswith("#")]
    assert [one["name"] for one in told["steps"] if one["command"][0] == "align-rl"] == ["grpo-5", "ppo-5"]
    assert not any(one["there"] for one in told["steps"])


def test_where_the_size_is_unknown_the_rest_is_told(tmp_path):
    settings, steps = steps_of(STUDY, tmp_path, "base.model=maker/other", "pipeline.seeds=[1]")
    lines = study(settings, steps, [False] * len(steps), None)
    assert "unknown until the base is there" in lines[1]
    assert lines[-1].strip() == "effect  methods are compared by two or more seeds of each"
