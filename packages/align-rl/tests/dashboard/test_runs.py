import json

import pytest

from align_contracts.errors import MissingError
from align_rl.dashboard.figures import figures
from align_rl.dashboard.runs import Watched, WatchedRun


def polled(*paths):
    watched = Watched(paths)
    watched.poll()
    return watched


def names(watched):
    return [run.name for run in watched.runs]


def test_a_run_may_be_named_by_its_folder_its_artifact_or_its_name(logs, row, tmp_path):
    logs.append("a", row(1))
    logs.append("b", row(1))
    logs.publish("b", method="ppo")
    assert names(polled(tmp_path / ".a.run", tmp_path / "b", tmp_path / "to-come", tmp_path / "a")) == [
        "a",
        "b",
        "to-come",
    ]


def test_a_directory_has_its_runs_and_those_that_come_later(logs, row, tmp_path):
    (tmp_path / "data" / "pairs").mkdir(parents=True)
    (tmp_path / "data" / "pairs" / "train.jsonl").write_text("{}\n")  # rows of data are no log
    logs.append("base", {"step": 1, "loss": 3.0, "seconds": 1.0})
    logs.publish("base", kind="base_model")
    watched = polled(tmp_path)
    assert names(watched) == []
    logs.append("sft", {"method": "sft", "steps": 9, "step": 3, "loss": 2.0})
    assert watched.poll()
    assert names(watched) == ["sft"]
    logs.append("ppo-42", row(1))
    watched.poll()
    (first, second) = watched.runs
    logs.publish("sft", method="sft")
    watched.poll()
    assert names(watched) == ["ppo-42", "sft"]
    assert {first, second} == set(watched.runs)  # still the same two, not read anew
    assert not watched.poll()
    logs.append("ppo-123", row(1))
    watched.poll()
    assert names(watched) == ["ppo-42", "ppo-123", "sft"]  # seeds as numbers


def test_the_last_figures_are_those_of_the_log(logs, row, tmp_path):
    point = {"perplexity": 1.5, "win_rate": 0.625, "best": 2}
    logs.append("ppo-42", row(1), row(2, eval=point), row(3))
    logs.lock("ppo-42")
    (run,) = polled(tmp_path / "ppo-42").runs
    told = figures(run)
    told = {name: told[name] for name in told if name not in ("age_seconds", "log", "phases", "detail")}
    assert told == {
        "run": "ppo-42",
        "method": "ppo",
        "seed": 42,
        "state": "running",
        "position": 3,
        "of": 4,
        "eta_seconds": 8.0,  # one more iteration at 8 s
        "reward": 1.5,
        "kl": 0.03,
        "target_kl": 0.02,
        "response_length": 23.0,
        "loss": None,
        "tokens_per_second": 300.0,  # 600 tokens in 2 s of rollout
        "seconds": 8.0,
        "active_memory_bytes": 2.0**30,
        "peak_memory_bytes": 2.0**31,
        "win_rate": 0.625,
        "perplexity": 1.5,
        "pairwise_accuracy": None,
        "best": 2,
    }


def test_supervised_runs_have_their_validations_before_and_after_publication(logs, tmp_path):
    logs.append(
        "rm",
        *(
            {"method": "rm", "seed": 1, "steps": 4, "step": n, "loss": 1 / n, "tokens": 50, "seconds": 0.5}
            for n in (1, 2)
        ),
    )
    logs.append("rm", {"step": 2, "pairwise_accuracy": 0.75}, file="validation.jsonl")
    (run,) = (watched := polled(tmp_path / "rm")).runs
    told = figures(run)
    assert (told["method"], told["position"], told["of"]) == ("rm", 2, 4)
    assert (told["loss"], told["pairwise_accuracy"], told["tokens_per_second"]) == (0.5, 0.75, 100.0)
    (logs.folder("rm") / "validation.jsonl").rename(logs.folder("rm") / "curve.jsonl")
    logs.publish("rm", kind="reward_model")
    watched.poll()
    assert run.last("pairwise_accuracy") == 0.75


def test_a_log_of_an_earlier_version_is_completed_by_the_manifest(logs, row, tmp_path):
    old = {k: v for k, v in row(4).items() if k not in ("method", "seed", "num_iterations")}
    logs.append("grpo-7", old)
    logs.publish("grpo-7", method="grpo", seed=7, selection={"step": 2})
    (run,) = polled(tmp_path / "grpo-7").runs
    assert (run.method, run.seed, run.total, run.best) == ("grpo", 7, 4, 2)


@pytest.mark.parametrize("value", [float("nan"), "text", None, True, [1], {"kl": 1}])
def test_what_is_no_number_is_absent(logs, row, tmp_path, value):
    logs.append("ppo-42", row(1, kl=value, phases=value, eval=value, num_iterations=value, seconds=value))
    (run,) = polled(tmp_path / "ppo-42").runs
    told = figures(run)
    assert (told["kl"], told["eta_seconds"], told["seconds"], told["win_rate"]) == (None, None, None, None)
    assert json.loads(json.dumps(told, allow_nan=False))["reward"] == 0.5


def test_what_can_never_be_there_is_refused(tmp_path, logs, row):
    with pytest.raises(MissingError, match="there is no directory"):
        Watched([tmp_path / "nowhere" / "ppo-42"])
    logs.append("ppo-42", row(1))
    logs.publish("ppo-42", method="ppo")
    (tmp_path / "ppo-43").mkdir()
    (tmp_path / "ppo-43" / "manifest.json").write_text("{}")
    with pytest.raises(MissingError, match=r"Did you mean .*ppo-42"):
        Watched([tmp_path / "ppo-43"])


def test_watching_writes_nothing_and_changes_no_time(logs, row, tmp_path):
    logs.append("ppo-42", row(1))
    logs.lock("ppo-42")

    def everything():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")}

    before = everything()
    run = WatchedRun(tmp_path / "ppo-42")
    run.poll()
    figures(run)
    assert everything() == before
