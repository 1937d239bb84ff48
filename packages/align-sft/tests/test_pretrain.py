import json
import math
import os
import signal

import mlx.core as mx
import pytest

from align_contracts import open_artifact, signals
from align_contracts.errors import ConfigError, DivergedError, InterruptedRun
from align_sft import base, pretrain
from align_sft.config import BaseConfig
from align_sft.crew import Crew
from tiny.rows import publish_rows


@pytest.fixture
def make(store, base_config, tmp_path):
    """Make settings of a base that takes 12 steps."""
    chosen = {**base_config, "embedded": True, "data": store / "data", "steps": 12, "learning_rate": 1e-2}
    return lambda name, **more: BaseConfig(**{**chosen, "out": tmp_path / name, **more})


@pytest.fixture
def stop_at(monkeypatch):
    """Send this process a signal when a run looks for one for the given time, once."""

    def arm(look, number=signal.SIGTERM):
        seen, check = [], signals.check

        def counted():
            seen.append(None)
            if len(seen) == look:
                os.kill(os.getpid(), number)
            check()

        monkeypatch.setattr(signals, "check", counted)

    return arm


def content(config):
    base.run(config)
    return open_artifact(config.out).content_digest


def log_of(config):
    rows = open_artifact(config.out).read_jsonl("log")
    return [{k: v for k, v in row.items() if not k.endswith(("seconds", "bytes"))} for row in rows]


def test_it_learns_and_says_how(make):
    config = make("o", steps=60)
    base.run(config)
    art = open_artifact(config.out)
    rows = list(art.read_jsonl("log"))
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert {(row["method"], row["steps"], row["seed"]) for row in rows} == {("base", 60, 42)}
    metrics = {metric.name: metric for metric in art.manifest.metrics}
    last = [row["loss"] for row in rows[10:]]  # the last 50
    assert metrics["pretraining_loss"].value == pytest.approx(sum(last) / 50, rel=1e-12)
    assert (metrics["pretraining_loss"].step, metrics["pretraining_loss"].n) == (60, 50)
    assert rows[0]["loss"] == pytest.approx(math.log(192), abs=0.3)  # nearly even odds of 192 tokens
    assert rows[-1]["loss"] < 1.5
    assert metrics["tokens"].value == sum(row["tokens"] for row in rows)
    proved = art.manifest.extensions["certificate"]
    assert (proved["verdict"], proved["alive"], proved["live_updates"]) == ("complete", proved["tensors"], 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_run_goes_on_to_the_same_bytes(make, stop_at, processes):
    whole = make("whole", processes=processes)
    expected = content(whole)
    halved = make("halved", processes=processes)
    stop_at(9)  # once as it begins, then before each step: seven are done
    with pytest.raises(InterruptedRun, match="stopped after 7") as stopped:
        base.run(halved)
    folder = halved.out.with_name(".halved.run")
    assert str(folder) in str(stopped.value)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert not halved.out.exists()
    assert (folder / "checkpoints" / "000007").is_dir()
    assert content(halved) == expected
    assert log_of(halved) == log_of(whole)
    assert not folder.exists()


def test_a_killed_run_goes_on_from_its_checkpoint(make, monkeypatch):
    """Nothing is saved when the end comes without a word; the steps since the last checkpoint are taken again."""
    expected = content(make("whole"))
    config, taken, step = make("killed", checkpoint_every=5), [], pretrain.Pretrainer.step

    def counted(self, numbers, rate):
        taken.append(self.state.iteration)
        if len(taken) == 9:
            raise KeyboardInterrupt  # as SIGKILL: no handler of errors sees it
        return step(self, numbers, rate)

    monkeypatch.setattr(pretrain.Pretrainer, "step", counted)
    with pytest.raises(KeyboardInterrupt):
        base.run(config)
    assert content(config) == expected
    assert taken == [*range(9), *range(5, 12)]


def test_another_setting_is_no_continuation(make, stop_at):
    stop_at(4)
    with pytest.raises(InterruptedRun):
        base.run(make("o"))
    with pytest.raises(ConfigError, match=r"settings learning_rate 0\.01"):
        base.run(make("o", learning_rate=2e-2))
    with pytest.raises(ConfigError, match="settings processes 1"):
        base.run(make("o", processes=2))
    base.run(make("o", learning_rate=2e-2, resume="never"))


def spoil_line(monkeypatch, number, when=0):
    """Let a line have no finite loss, from the given call on."""
    honest, calls = pretrain.padded, []
    monkeypatch.setattr(pretrain, "padded", lambda lines, rows: calls.append(list(rows)) or honest(lines, rows))
    gradient = Crew.gradient

    def spoilt(self, params, *batch):
        value, grads = gradient(self, params, *batch)
        bad = len(calls) > when and number(calls) in calls[-1]
        return (value * float("nan"), grads) if bad else (value, grads)

    monkeypatch.setattr(Crew, "gradient", spoilt)


def test_a_line_that_spoils_a_step_is_named_or_left_out(make, monkeypatch, tmp_path):
    spoil_line(monkeypatch, lambda calls: calls[2][1], when=2)  # the second line of the third step
    with pytest.raises(DivergedError, match=r"loss is not finite at step 3") as stopped:
        base.run(make("o"))
    record = json.loads((tmp_path / ".o.run" / "diagnosis.json").read_text())
    (row,) = record["offending_rows"]
    assert f"1 of {len(record['rows'])} rows: {row['id']}" in str(stopped.value)
    assert row["id"] == f"line {row['row'] + 1}"
    assert record["environment"]["dtype"] == "float32"
    assert not (tmp_path / "o").exists()


def test_lines_may_be_left_out(make, monkeypatch):
    spoil_line(monkeypatch, lambda calls: calls[2][1], when=2)
    config = make("o", skip_nonfinite_rows=1)
    base.run(config)
    (row,) = open_artifact(config.out).manifest.extensions["skipped_rows"]
    assert row["step"] == 3
    assert [r["skipped_rows"] for r in log_of(config)][:4] == [0, 0, 1, 1]


def test_an_empty_corpus_is_refused(make, tmp_path):
    """Its batches would be waited for in vain."""
    publish_rows(tmp_path / "data", {"corpus": []})
    with pytest.raises(ConfigError, match="the corpus is empty"):
        base.run(make("o", data=tmp_path / "data"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_weights_are_all_of_the_model(make, monkeypatch):
    """What is stored is what was trained: with bits 0 the last state, rounded to bfloat16."""
    kept, save = {}, pretrain.report
    monkeypatch.setattr(pretrain, "report", lambda c, state, d: (kept.update(state.params), save(c, state, d))[1])
    config = make("o", bits=0)
    base.run(config)
    stored = mx.load(str(config.out / "model.safetensors"))
    assert stored.keys() == kept.keys()
    assert all(mx.array_equal(stored[name], kept[name].astype(mx.bfloat16)) for name in stored)
