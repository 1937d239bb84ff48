"""What would go wrong hours later is found before anything runs."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import pytest

from align_contracts import ConfigError, LockedError, MissingError, VerificationError, console, open_artifact, publish
from align_contracts.durable import locked
from align_mlx import checkpoints, identity
from align_mlx.train_state import TrainState
from pipeline.__main__ import main
from pipeline.plan import Planned, plan
from pipeline.preflight import preflight, require_continuable, require_free

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "embedded.toml"


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def check(out: Path, *sets: str, there: tuple[str, ...] = ()) -> None:
    steps = plan(RECIPE, out, sets)[1]
    preflight(steps, [one.step.name in there for one in steps], {})


def test_the_recipe_passes(tmp_path):
    check(tmp_path)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["rl.max_response_length=90"], r"max_prompt_length \+ max_response_length ≤ 96 \(max_seq_length\), got 130"),
        (["rl.batch_size=10"], "multiple of minibatches, got 10 and 4"),
        (["rl.clip_range=0.4", "rl.clip_range_high=0.1"], r"clip_range_high ≥ 0\.4 \(clip_range\), got 0\.1"),
        (["pipeline.seeds=[1,1]"], "--seeds: each once: got 1 more than once"),
        (["pipeline.methods=ppo,grpo,ppo"], "--methods: each once: got ppo more than once"),
        (["pipeline.seeds=[-1]"], "greater than or equal to 0"),
        (["base.num_heads=3", "base.num_kv_heads=2"], "multiple of num_kv_heads, got 3 and 2"),
        (["judge.base_url=localhost:8080/v1"], r"--base-url: no usable address: expected http://… or https://…"),
        (["data.validation=31"], r"grpo-42 .*: expected eval_prompts ≤ 31 \(data\.validation\), got 128"),
        (["pipeline.sweep=true", "sweep.eval_prompts=201"], r"sweep-ppo-42 .* ≤ 200 \(data\.validation\), got 201"),
        (["data.calibration=0"], r"data\.calibration is 0"),
        (["pipeline.gold=true", "data.gold=0"], r"data\.gold is 0"),
        (["rl.memory_limit=8 bananas"], r"--memory-limit: no amount of memory: .*8GB or 7\.5GiB, got 8 bananas"),
    ],
)
def test_settings_that_contradict_each_other(tmp_path, sets, message):
    with pytest.raises(ConfigError, match=message):
        check(tmp_path, *sets)


def test_a_blas_that_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.preflight.BLAS", "missing: /nowhere")
    with pytest.raises(ConfigError, match=r"ALIGN_BLAS: .* got /nowhere"):
        check(tmp_path)


def test_a_split_that_nobody_uses_may_be_empty(tmp_path):
    check(tmp_path, "data.gold=0")


def test_sources_that_are_not_there_unless_what_they_make_is(tmp_path):
    for name, sets in (
        ("data", [f"data.source={tmp_path}/none"]),
        ("base", ["base.embedded=false", f"base.model={tmp_path}/none"]),
    ):
        with pytest.raises(MissingError, match=r"no directory .*none"):
            check(tmp_path, *sets)
        check(tmp_path, *sets, there=(name,))


def test_a_target_that_somebody_else_is_making(tmp_path):
    steps = plan(RECIPE, tmp_path, [])[1]
    there = [False] * len(steps)
    require_free(steps, there)
    with locked(tmp_path / "rm"):
        with pytest.raises(LockedError, match=r"\.rm\.lock: another process holds this lock"):
            require_free(steps, there)
        require_free(steps, [one.step.name == "rm" for one in steps])
    assert list(tmp_path.iterdir()) == []


def begin(planned: Planned, inputs: Mapping[str, str]) -> Path:
    """Leave an unfinished run of a step behind, with one checkpoint."""
    folder = planned.target.with_name(f".{planned.step.name}.run")
    asked = {"settings": identity.decisive(planned.config), "inputs": dict(inputs)}
    state = TrainState.start({"w": mx.zeros((2,))})
    checkpoints.write(folder / "checkpoints", state, asked, [identity.program("align-rl")], {})
    return folder


def test_an_unfinished_run_of_other_settings_is_refused_before_anything_runs(tmp_path, capsys):
    """The last training of the chain: its own refusal would come after hours."""
    was, now = (plan(RECIPE, tmp_path, [f"rl.learning_rate={rate}"])[1] for rate in ("1e-4", "2e-4"))
    last = next(one for one in was if one.step.name == "ppo-777")
    folder = begin(last, {})
    nothing = [False] * len(was)
    require_continuable(was, nothing)
    with pytest.raises(ConfigError) as error:
        require_continuable(now, nothing)
    assert str(error.value) == (
        "the unfinished run of ppo-777 was begun with other settings or inputs: expected learning_rate 0.0001, "
        f"got learning_rate 0.0002. Give the same to continue it, remove {folder} to start over, "
        "or choose another --out"
    )
    for more in ([], ["--dry-run", "--tflops", "1"]):
        argv = ["--recipe", str(RECIPE), "--out", str(tmp_path), "--set", "rl.learning_rate=2e-4", *more]
        assert main(argv) == 2
        assert capsys.readouterr().err == f"error: {error.value}\n"
    assert list(tmp_path.iterdir()) == [folder]
    require_continuable(now, [one.step.name == "ppo-777" for one in now])  # what is finished is not continued
    require_continuable(plan(RECIPE, tmp_path, ["rl.learning_rate=2e-4", "rl.resume=never"])[1], nothing)


def test_an_unfinished_run_from_other_inputs_is_refused_before_anything_runs(tmp_path):
    steps = plan(RECIPE, tmp_path, [])[1]
    data, _, sft = steps[:3]
    with publish(data.target, "dataset", producer="test", config=console.deterministic(data.config)) as draft:
        draft.details = {
            "source": "test",
            "split_seed": 1,
            "counts": {},
            "categories": {},
            "has_checks": False,
            "formats": ["chosen"],
        }
    there = [one is data for one in steps]
    digest = open_artifact(data.target).content_digest
    begin(sft, {"dataset": digest, "base": "0" * 64})  # the base is not there yet: nobody knows
    require_continuable(steps, there)
    begin(sft, {"dataset": "0" * 64, "base": "0" * 64})
    with pytest.raises(ConfigError, match=rf"run of sft .*: expected data another, got data {digest}\. Give"):
        require_continuable(steps, there)


def test_an_unfinished_run_without_a_whole_checkpoint_is_refused_before_anything_runs(tmp_path):
    steps = plan(RECIPE, tmp_path, [])[1]
    folder = begin(steps[3], {})
    (folder / "checkpoints" / "000000" / "params.safetensors").write_bytes(b"")
    with pytest.raises(VerificationError, match="none of the 1 checkpoints in"):
        require_continuable(steps, [False] * len(steps))


def test_an_output_directory_that_is_a_file_is_one_line(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["--recipe", str(RECIPE), "--out", str(tmp_path / "out")]) == 6
    assert capsys.readouterr().err == f"error: {tmp_path}/out is no directory. Choose another --out\n"
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--dryrun", "unknown flag --dryrun. Did you mean --dry-run?"),
        ("--sets=x.y=1", "unknown flag --sets. Did you mean --set?"),
        ("runs/x", "unexpected argument 'runs/x'. 'nox -s pipeline --help' lists the flags"),
    ],
)
def test_a_mistyped_flag(argument, said, capsys):
    assert main([argument]) == 2
    assert capsys.readouterr().err == f"error: nox -s pipeline: {said}\n"


def test_a_directory_of_artifacts_where_one_is_wanted_is_a_usage_error(tmp_path):
    for name in ("sft", "rm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    script = Path(sys.executable).parent / "align-contracts"
    done = subprocess.run([script, "inspect", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is no artifact, it holds some: rm, sft. Name one of them\n"
