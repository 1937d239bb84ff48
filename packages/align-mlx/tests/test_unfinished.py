"""An unfinished run continues exactly where it was, and only as the same run."""

import errno
import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import mlx.core as mx
import pytest

from align_contracts import open_artifact, signals
from align_contracts.console import runtime
from align_contracts.errors import (
    ConfigError,
    DivergedError,
    InterruptedRun,
    LockedError,
    MissingError,
    PreflightError,
    VerificationError,
)
from align_mlx import checkpoints, diagnosis, identity
from align_mlx.progress import Meter
from align_mlx.settings import PassSettings, ResumeSettings
from align_mlx.tensors import save_tensors
from align_mlx.train_state import TrainState
from align_mlx.training import training

CARD = {"counts": {}, "formats": ["chosen"]}


class Settings(PassSettings, ResumeSettings):
    out: Path = runtime(..., "Where.")
    overwrite: bool = runtime(False, "Replace.")
    learning_rate: float = 0.5
    nested: dict[str, int] = {"a": 1}  # noqa: RUF012 - pydantic copies it


STEPS = 7
GRADIENT = mx.array([1.0, -2.0, 0.1])


def go(out, *, steps=STEPS, stop_at=None, fail=None, before=lambda run: None, **settings):
    """One process's run: Adam steps on a gradient that depends on the iteration, a log, a file every second step.

    Args:
        out: the artifact.
        steps: of the run.
        stop_at: the iteration in whose middle SIGTERM comes.
        fail: raised at the end of the loop.
        before: called with the run when it has begun.
    """
    config = Settings(**{"out": out, "checkpoint_every": 100, **settings})
    with training(config, "policy", producer="align-sft", inputs={}) as (draft, run):
        state = TrainState.start({"a": mx.zeros((3,))}, weight_decay=0.1)
        state.memory = {"log": []}
        run.begin(state, STEPS)
        began = state.iteration
        before(run)
        while state.iteration < steps:
            state.memory["half"] = state.iteration  # an iteration that is abandoned leaves nothing behind
            state.update({"a": GRADIENT * (state.iteration + 1)}, 0.1, 1.0)
            if state.iteration == stop_at:
                run.log("train.jsonl", {"half": True})
                run.file("eval/half.jsonl").write_text("half")
                os.kill(os.getpid(), signal.SIGTERM)
            signals.check()
            state.iteration += 1
            state.memory["log"] = [*state.memory["log"], state.iteration]
            state.best = dict(state.params)
            run.log("train.jsonl", {"step": state.iteration})
            if state.iteration % 2 == 0:
                save_tensors(run.file(f"eval/{state.iteration}.safetensors"), state.params)
            run.reached(state)
        if fail:
            raise fail
        run.save()
        run.hand_over(draft, "train.jsonl", role="log", volatile=True)
        for step in range(2, steps + 1, 2):
            run.hand_over(draft, f"eval/{step}.safetensors", role=f"eval_{step}")
        save_tensors(draft.file("best.safetensors", role="best"), state.best)
        save_tensors(draft.file("adapter.safetensors", role="adapter"), state.params)
        adapter = {"name": "sft", "file": "adapter.safetensors", "rank": 1, "alpha": 1.0, "layers": 1, "targets": ["q"]}
        draft.details = {"method": "sft", "form": "residual", "format": "chosen", "adapters": [adapter]}
        draft.metric("began", began)
    return open_artifact(out)


def killed(out, **settings):
    """A run that ends as by SIGKILL after its last step: nothing is saved on the way out."""
    with pytest.raises(KeyboardInterrupt):
        go(out, fail=KeyboardInterrupt(), **settings)


def run_of(out):
    return out.with_name(f".{out.name}.run")


def names(out):
    return sorted(path.name for path in (run_of(out) / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The undisturbed run."""
    return go(tmp_path_factory.mktemp("plain") / "one")


def same(found, plain):
    """Whether a run made what the undisturbed one did, its log included."""
    assert found.content_digest == plain.content_digest
    assert found.file("log").read_bytes() == plain.file("log").read_bytes()


def test_an_undisturbed_run_leaves_only_its_artifact(plain):
    assert [path.name for path in plain.path.parent.iterdir()] == ["one"]
    assert plain.metric("began") == 0
    assert [row["step"] for row in plain.read_jsonl("log")] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("stop_at", [0, 1, 4, 6])
def test_a_stopped_run_continues_to_the_same_bytes(tmp_path, plain, stop_at, capfd):
    handlers = [signal.getsignal(number) for number in signals.SIGNALS]
    out = tmp_path / "two"
    with pytest.raises(InterruptedRun) as stop:
        go(out, stop_at=stop_at)
    saved = f"stopped after {stop_at} of {STEPS} steps, saved in {run_of(out)}"
    assert str(stop.value) == f"{saved}. Run the same command again to continue"
    assert stop.value.again == ()  # nothing more to give
    assert stop.value.exit_code == 128 + signal.SIGTERM
    assert capfd.readouterr().err == "stopping: the state is being saved; a second signal stops at once\n"
    assert [signal.getsignal(number) for number in signals.SIGNALS] == handlers
    assert [path.name for path in tmp_path.iterdir()] == [".two.run"]
    again = go(out)
    where = run_of(out) / "checkpoints" / f"{stop_at:06d}"
    assert capfd.readouterr().err == f"note: continuing from step {stop_at} of {STEPS} (checkpoint {where})\n"
    assert again.metric("began") == stop_at
    same(again, plain)
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_the_resumed_run_s_time_left_is_of_its_own_steps(tmp_path, monkeypatch):
    """Four of seven steps are another process's; the fifth, the first of this one, compiles; the sixth takes 3 s."""
    out, now, left = tmp_path / "one", [1000.0], []
    killed(out, steps=4, checkpoint_every=4)
    monkeypatch.setattr("align_mlx.progress.time.monotonic", lambda: now[0])
    meter = Meter("sft", quiet=True)
    opened = training(Settings(out=out), "policy", producer="align-sft", inputs={}, meter=meter)
    with suppress(KeyboardInterrupt), opened as (_, run):
        state = TrainState.start({"a": mx.zeros((3,))}, weight_decay=0.1)
        run.begin(state, STEPS)
        assert (meter.done, meter.total) == (4, STEPS)
        for seconds in (60.0, 3.0):
            now[0] += seconds
            meter.advance()
            left.append(meter.left)
        raise KeyboardInterrupt  # nothing to publish
    assert left == [None, 3.0]  # one more step


def test_it_may_be_stopped_again_and_again(tmp_path, plain):
    for stop_at in (1, 1, 2, 5):
        with pytest.raises(InterruptedRun):
            go(tmp_path / "two", stop_at=stop_at)
    same(go(tmp_path / "two"), plain)


@pytest.mark.parametrize(("every", "at"), [(2, 4), (3, 3), (5, 5)])
def test_a_killed_run_continues_from_its_last_checkpoint(tmp_path, plain, every, at):
    out = tmp_path / "one"
    killed(out, steps=5, checkpoint_every=every)
    (run_of(out) / "checkpoints" / ".000009.tmp-0011223344556677").mkdir()  # killed while writing
    again = go(out, checkpoint_every=every)
    assert again.metric("began") == at
    same(again, plain)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, plain):
    killed(tmp_path / "one", steps=3)
    assert (run_of(tmp_path / "one") / "train.jsonl").read_text().count("\n") == 3
    again = go(tmp_path / "one", learning_rate=0.5)
    assert again.metric("began") == 0
    same(again, plain)


def test_the_newest_checkpoints_are_kept(tmp_path):
    for keep, kept in ((1, ["000007"]), (3, ["000005", "000006", "000007"])):
        killed(tmp_path / str(keep), checkpoint_every=1, keep_checkpoints=keep)
        assert names(tmp_path / str(keep)) == kept


def flip(path, where=-1):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "flipped": lambda c: flip(c / "params.safetensors"),
    "record": lambda c: rewrite(c / "checkpoint.json", '"iteration": 4', '"iteration": 5'),
    "no record": lambda c: (c / "checkpoint.json").unlink(),
    "not json": lambda c: (c / "checkpoint.json").write_text("{"),
    "cut": lambda c: os.truncate(c / "optimizer.safetensors", 20),
    "longer": lambda c: (c / "state.json").write_text((c / "state.json").read_text() + " "),
    "missing": lambda c: (c / "best.safetensors").unlink(),
    "evaluation": lambda c: flip(c.parent.parent / "eval" / "4.safetensors"),
    "log": lambda c: os.truncate(c.parent.parent / "train.jsonl", 3 * 12 + 3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path, plain, damage, capsys):
    out = tmp_path / "one"
    killed(out, steps=4, checkpoint_every=1)
    DAMAGES[damage](run_of(out) / "checkpoints" / "000004")
    again = go(out)
    assert again.metric("began") == 3
    same(again, plain)
    said = capsys.readouterr().err
    aside, continuing = said.splitlines()
    assert aside.startswith("note: checkpoint 000004 is set aside as 000004.aside: ")
    assert continuing.startswith("note: continuing from step 3 of 7 ")


def test_another_format_of_checkpoints_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    monkeypatch.setattr(checkpoints.Record.__init__, "__defaults__", (2,))
    killed(tmp_path / "one", checkpoint_every=7)
    monkeypatch.undo()
    with pytest.raises(VerificationError, match="written by another version: expected 1, got 2"):
        go(tmp_path / "one")


def test_when_no_checkpoint_is_whole_nothing_is_touched(tmp_path):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    for checkpoint in (run_of(out) / "checkpoints").iterdir():
        flip(checkpoint / "params.safetensors")
    before = sorted(path.name for path in run_of(out).rglob("*"))
    with pytest.raises(
        VerificationError, match=r"none of the 2 checkpoints .* can be trusted: .*params.*never"
    ) as error:
        go(out)
    assert error.value.exit_code == 3
    assert sorted(path.name for path in run_of(out).rglob("*")) == before
    assert go(out, resume="never").metric("began") == 0


@pytest.mark.parametrize(
    ("other", "saved", "now"),
    [
        ({"learning_rate": 0.25}, "settings learning_rate 0.5", "settings learning_rate 0.25"),
        ({"nested": {"a": 2}}, "settings nested a 1", "settings nested a 2"),
        ({"nested": {}}, "settings nested a 1", "settings nested a absent"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, other, saved, now):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with pytest.raises(ConfigError) as error:
        go(out, **other)
    assert (error.value.expected, error.value.got) == (saved, now)
    assert names(out) == ["000006", "000007"]
    assert go(out, checkpoint_every=3, keep_checkpoints=1).metric("began") == 7  # these decide nothing


def test_never_starts_over_and_says_so(tmp_path, capsys):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    assert go(out, resume="never", learning_rate=0.25).metric("began") == 0
    aside = f"the unfinished run in {run_of(out)} is put aside until this one has a checkpoint"
    assert f"note: starting over; {aside}\n" in capsys.readouterr().err


ENDS = (
    DivergedError("the loss is not finite"),
    RuntimeError("out of memory"),
    PreflightError("it does not fit the memory"),
    KeyboardInterrupt(),
)


def back(out):
    """The note that the older run has its place again."""
    return (
        f"note: the unfinished run from before is back in {run_of(out)}; "
        "the one begun in its place ended before its first checkpoint and is removed\n"
    )


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("error", ENDS)
def test_the_run_before_is_not_lost_to_one_that_ends_at_once(tmp_path, plain, error, zero, capsys):
    """However it ends; as in SFT and RL, a checkpoint of iteration 0 may be there, which holds no learning."""

    def fail(run):
        if zero:
            run.reached(TrainState.start({"a": mx.zeros((3,))}))
            assert names(out) == ["000000"]
        raise error

    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with pytest.raises(type(error)):
        go(out, resume="never", learning_rate=0.25, before=fail)
    if not isinstance(error, KeyboardInterrupt):  # as by SIGKILL: the next one finds it
        assert names(out) == ["000006", "000007"]
        assert [path.name for path in tmp_path.iterdir()] == [".one.run"]
        assert back(out) in capsys.readouterr().err
    again = go(out)
    assert again.metric("began") == 7
    same(again, plain)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("error", ENDS[:3])
@pytest.mark.parametrize("every", [2, 100])
def test_the_run_before_is_given_up_for_a_checkpoint_that_was_due(tmp_path, error, every):
    """After 3 steps: one was due after 2, or none was."""
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with pytest.raises(type(error)):
        go(out, resume="never", steps=3, learning_rate=0.25, checkpoint_every=every, fail=error)
    if every == 2:
        last = "000002" if isinstance(error, PreflightError) else "000003"  # no more is asked of a full disk
        assert names(out)[-1] == last
        assert go(out, learning_rate=0.25).metric("began") == int(last)
    else:
        assert names(out) == ["000006", "000007"]
        assert go(out).metric("began") == 7


def test_a_run_stopped_before_its_first_checkpoint_says_that_the_one_before_is_back(tmp_path, plain, capfd):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with pytest.raises(InterruptedRun) as stop:
        go(out, resume="never", learning_rate=0.25, stop_at=2)
    assert str(stop.value) == (
        f"stopped after 2 of {STEPS} steps, before the first checkpoint: none is kept, and the older run is back in "
        f"{run_of(out)}. Run the same command again to start over; "
        "--resume auto continues the older run, as it was set"
    )
    assert stop.value.again is None  # no command that was given continues it
    assert stop.value.exit_code == 128 + signal.SIGTERM
    assert back(out) in capfd.readouterr().err
    same(go(out), plain)


def test_a_run_stopped_after_its_first_checkpoint_says_how_it_goes_on(tmp_path):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with pytest.raises(InterruptedRun, match="stopped after 4 of 7 steps, saved in") as stop:
        go(out, resume="never", learning_rate=0.25, checkpoint_every=3, stop_at=4)
    assert stop.value.again == ("--resume", "auto")
    assert go(out, learning_rate=0.25).metric("began") == 4


def test_a_diagnosis_outlives_the_run_that_gives_way(tmp_path):
    """The error that ended it names the path."""

    def diverge(run):
        diagnosis.write(run.folder, {"stage": "sft", "step": 1})
        raise DivergedError("the loss is not finite")

    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with pytest.raises(DivergedError):
        go(out, resume="never", learning_rate=0.25, before=diverge)
    assert json.loads((run_of(out) / "diagnosis.json").read_text()) == {"stage": "sft", "step": 1}
    assert go(out).metric("began") == 7


def test_a_whole_run_outlives_a_failed_publication_and_not_the_run_before(tmp_path, monkeypatch):
    """Seven steps without a checkpoint between; the one at the end is as good."""
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with monkeypatch.context() as patch:
        patch.setattr("align_contracts.store.sync_tree", full_disk)
        with pytest.raises(PreflightError):
            go(out, resume="never", learning_rate=0.25)
    assert names(out) == ["000007"]
    assert go(out, learning_rate=0.25).metric("began") == 7


def test_a_removal_of_the_run_before_that_was_killed_is_finished(tmp_path, monkeypatch):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    rmtree = shutil.rmtree

    def killed_here(path, **more):
        if ".before.tmp-" in path.name:
            raise KeyboardInterrupt
        rmtree(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr("align_mlx.checkpoints.shutil.rmtree", killed_here)
        with pytest.raises(KeyboardInterrupt):
            go(out, resume="never", learning_rate=0.25, checkpoint_every=3)
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith("..one.run.before.tmp-")]
    assert len(left) == 1
    assert go(out, learning_rate=0.25).metric("began") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_the_run_before_goes_when_the_new_one_has_a_checkpoint(tmp_path):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    killed(out, resume="never", steps=3, learning_rate=0.25, checkpoint_every=3)
    assert [path.name for path in tmp_path.iterdir()] == [".one.run"]
    assert go(out, learning_rate=0.25).metric("began") == 3


def test_killed_between_its_first_checkpoint_and_the_end_of_the_run_before(tmp_path, monkeypatch):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "remove", killing)
        killed(out, resume="never", steps=3, learning_rate=0.25, checkpoint_every=3)
    assert run_of(out).with_name(".one.run.before").exists()
    assert go(out, learning_rate=0.25).metric("began") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def killing(path):
    raise KeyboardInterrupt


@pytest.mark.parametrize("resume", ["never", "path"])
def test_a_stopped_run_says_how_it_goes_on_and_not_how_it_would_begin_again(tmp_path, plain, resume):
    """With the same command it would start over, or go back to the path."""
    killed(tmp_path / "one", steps=2, checkpoint_every=1)
    given = str(run_of(tmp_path / "one")) if resume == "path" else resume
    with pytest.raises(InterruptedRun, match="Run the same command with --resume auto to continue") as stop:
        go(tmp_path / "two", resume=given, stop_at=3)
    assert stop.value.again == ("--resume", "auto")  # the last one given counts
    again = go(tmp_path / "two", resume="auto")
    assert again.metric("began") == 3
    same(again, plain)


def test_work_between_the_start_and_the_first_iteration_is_saved_too(tmp_path):
    """A plan and a first evaluation take minutes; they are in the state that `reached` gets, still at iteration 0."""

    def prepare(value):
        with training(Settings(out=tmp_path / "one"), "policy", producer="align-sft", inputs={}) as (_, run):
            state = TrainState.start({"a": mx.zeros((3,))})
            run.begin(state, STEPS)
            before = state.memory.get("curve")
            if value is not None:
                state.memory["curve"] = value
                run.reached(state)
            os.kill(os.getpid(), signal.SIGTERM)
            said.append(before)
            signals.check()

    said = []
    for value in (None, [1.5], None):
        with pytest.raises(InterruptedRun):
            prepare(value)
    assert said == [None, None, [1.5]]


def test_a_run_is_not_continued_in_another_number_format(tmp_path, monkeypatch):
    """The setting `auto` means fp32 on a CPU and bf16 on a GPU: far more than last bits differ."""
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    monkeypatch.setattr("align_mlx.compute.backend", lambda: "cuda")
    with pytest.raises(ConfigError) as error:
        go(out)
    assert error.value.expected == "settings compute_dtype float32"
    assert error.value.got == "settings compute_dtype bfloat16"
    assert go(out, compute_dtype="float32").metric("began") == 7  # the same as before, asked for


def test_another_version_of_the_program_is_told_and_recorded(tmp_path, plain, monkeypatch, capsys):
    program = identity.program("align-sft")
    killed(tmp_path / "one", checkpoint_every=1)
    monkeypatch.setattr("align_mlx.training.program", lambda producer: {**program, "version": "99"})
    again = go(tmp_path / "one")
    assert f"continued by another program (version {program['version']} → 99)" in capsys.readouterr().err
    assert [one["version"] for one in again.manifest.extensions["made_by"]] == [program["version"], "99"]
    assert "made_by" not in plain.manifest.extensions


class TestPaths:
    """``--resume PATH``."""

    @pytest.fixture
    def stopped(self, tmp_path):
        killed(tmp_path / "one", steps=5, checkpoint_every=1, keep_checkpoints=3)
        return tmp_path / "one"

    @pytest.mark.parametrize("part", ["", "checkpoints/000005"])
    def test_a_copy_elsewhere(self, stopped, plain, tmp_path, part):
        copy = tmp_path / "copy"
        shutil.copytree(run_of(stopped), copy)
        again = go(tmp_path / "two", resume=str(copy / part))
        assert again.metric("began") == 5
        same(again, plain)
        assert (copy / "checkpoints").is_dir()  # the copy is left alone

    def test_an_older_checkpoint_of_the_run_itself(self, stopped, plain, capsys):
        again = go(stopped, resume=str(run_of(stopped) / "checkpoints" / "000003"))
        assert again.metric("began") == 3
        same(again, plain)
        said = capsys.readouterr().err
        assert "note: checkpoint 000005 is set aside as 000005.aside: the run goes on from 000003" in said

    def test_a_damaged_checkpoint_that_was_asked_for_is_refused(self, stopped):
        chosen = run_of(stopped) / "checkpoints" / "000004"
        flip(chosen / "params.safetensors")
        with pytest.raises(VerificationError, match="does not hold what was written"):
            go(stopped, resume=str(chosen))
        assert names(stopped) == ["000003", "000004", "000005"]

    def test_another_run_is_refused(self, stopped, tmp_path):
        with pytest.raises(ConfigError, match="learning_rate"):
            go(tmp_path / "two", resume=str(run_of(stopped)), learning_rate=0.25)
        assert not run_of(tmp_path / "two").exists()

    def test_nothing_there(self, tmp_path):
        with pytest.raises(MissingError, match="no unfinished run at nowhere"):
            go(tmp_path / "two", resume="nowhere")

    def test_a_checkpoint_that_was_set_aside(self, stopped):
        """Otherwise the run would go on from another one than was asked for."""
        chosen = run_of(stopped) / "checkpoints" / "000004"
        aside = chosen.rename(chosen.with_name("000004.aside"))
        with pytest.raises(MissingError, match=r"no unfinished run at .*000004\.aside"):
            go(stopped, resume=str(aside))

    def test_a_link_to_a_checkpoint(self, stopped, plain, tmp_path):
        link = tmp_path / "latest"
        link.symlink_to(run_of(stopped) / "checkpoints" / "000004")
        again = go(stopped, resume=str(link))
        assert again.metric("began") == 4
        same(again, plain)

    def test_two_unfinished_runs_for_one_artifact(self, stopped, tmp_path):
        killed(tmp_path / "two", checkpoint_every=1)
        with pytest.raises(PreflightError, match="there is an unfinished run in"):
            go(tmp_path / "two", resume=str(run_of(stopped)))


def test_after_a_divergence_the_last_good_state_is_kept(tmp_path, capsys):
    out = tmp_path / "one"
    with pytest.raises(DivergedError):
        go(out, steps=3, fail=DivergedError("the loss is not finite"))
    assert names(out) == ["000003"]
    assert f"note: the unfinished run (3 iterations) is kept in {run_of(out)}" in capsys.readouterr().err
    assert len((run_of(out) / "train.jsonl").read_text().splitlines()) == 3


def test_a_divergence_on_a_full_disk_leaves_the_log(tmp_path, monkeypatch, capsys):
    """The error that ended the run is told, not that its state could not be saved too."""
    monkeypatch.setattr(TrainState, "save", full_disk)
    with pytest.raises(DivergedError):
        go(tmp_path / "one", steps=3, fail=DivergedError("the loss is not finite"))
    assert len((run_of(tmp_path / "one") / "train.jsonl").read_text().splitlines()) == 3
    assert "is kept in" not in capsys.readouterr().err


def test_a_full_disk_before_the_first_checkpoint_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainState, "save", full_disk)
    with pytest.raises(PreflightError, match="the disk is full"):
        go(tmp_path / "one", checkpoint_every=1)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_may_be_made_without_a_run(tmp_path, plain):
    with training(Settings(out=tmp_path / "one"), "policy", producer="align-sft", inputs={}) as (draft, _):
        shutil.copyfile(plain.file("adapter"), draft.file("adapter.safetensors", role="adapter"))
        draft.details = plain.details
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path):
    def refuse(run):
        raise PreflightError("it does not fit the memory")

    with pytest.raises(PreflightError):
        go(tmp_path / "one", before=refuse)
    assert list(tmp_path.iterdir()) == []


def full_disk(*args, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["mlx.core.save_safetensors", "os.fsync", "os.rename", "json.dumps"])
def test_a_full_disk_ends_the_run_with_the_checkpoints_before_it(tmp_path, plain, monkeypatch, call):
    out = tmp_path / "one"
    killed(out, steps=3, checkpoint_every=1)
    save = TrainState.save

    def fail_here(self, folder):
        monkeypatch.setattr(call, full_disk)
        save(self, folder)

    monkeypatch.setattr(TrainState, "save", fail_here)
    with pytest.raises(PreflightError, match="the disk is full") as error:
        go(out, checkpoint_every=1)
    assert error.value.exit_code == 6
    monkeypatch.undo()
    assert names(out) == ["000002", "000003"]
    again = go(out)
    assert again.metric("began") == 3
    same(again, plain)


def test_a_full_disk_does_not_cost_the_run_before(tmp_path, plain, monkeypatch):
    out = tmp_path / "one"
    killed(out, checkpoint_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "save", full_disk)
        with pytest.raises(PreflightError, match="the disk is full"):
            go(out, resume="never", learning_rate=0.25, checkpoint_every=2)
    again = go(out)
    assert again.metric("began") == 7
    same(again, plain)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_error_of_publishing_costs_no_training(tmp_path, plain, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("align_contracts.store.sync_tree", full_disk)
        with pytest.raises(PreflightError):
            go(tmp_path / "one")
    again = go(tmp_path / "one")
    assert again.metric("began") == 7
    same(again, plain)


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_between_publishing_and_tidying_up(tmp_path, plain, monkeypatch, overwrite):
    """What was published is found, nothing is trained, and nothing is left beside it."""

    def killed_here(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "remove", killed_here)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "one")
    assert run_of(tmp_path / "one").is_dir()
    if overwrite:
        again = go(tmp_path / "one", overwrite=True)
        assert again.metric("began") == 7
        same(again, plain)
    else:
        with pytest.raises(PreflightError, match="exists"):
            go(tmp_path / "one")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_unfinished_run_beside_an_older_artifact_is_left_alone(tmp_path):
    """It was to replace the artifact, and --overwrite was forgotten when it was to go on."""
    go(tmp_path / "one", learning_rate=0.25)
    killed(tmp_path / "one", overwrite=True, checkpoint_every=1, steps=5)
    with pytest.raises(PreflightError, match="exists"):
        go(tmp_path / "one")
    assert go(tmp_path / "one", overwrite=True).metric("began") == 5


def test_a_second_process_is_refused(tmp_path):
    with pytest.raises(LockedError):
        go(tmp_path / "one", before=lambda run: go(tmp_path / "one"))


def test_a_stop_before_the_loop_saves_nothing(tmp_path):
    def stopped():
        with training(Settings(out=tmp_path / "one"), "policy", producer="align-sft", inputs={}):
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the signal stops at once: there is nothing to save")

    with pytest.raises(InterruptedRun) as error:
        stopped()
    assert error.value.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_the_record_names_every_file(tmp_path):
    out = tmp_path / "one"
    killed(out, steps=2, checkpoint_every=2)
    folder = run_of(out) / "checkpoints" / "000002"
    body = json.loads((folder / "checkpoint.json").read_text())["record"]
    assert body["files"].keys() == {"params.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"}
    assert body["live"].keys() == {"train.jsonl", "eval/2.safetensors"}
    assert {path.name for path in folder.iterdir()} == {*body["files"], "checkpoint.json"}
