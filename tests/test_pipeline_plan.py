from pathlib import Path

import pytest

from align_contracts import ConfigError, MissingError, VerificationError, console, publish
from pipeline.plan import finished, plan

RECIPE = """
[pipeline]
seeds = [1]
methods = ["grpo"]
[base]
embedded = true
[rl]
num_iterations = 5
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def planned(recipe: Path, *sets: str) -> dict:
    return {one.step.name: one for one in plan(recipe, recipe.parent / "out", sets)[1]}


def test_settings_of_the_recipe_and_of_set_reach_the_steps_that_read_them(recipe):
    steps = planned(recipe, "rl.learning_rate=0.5", "grpo.K=3", "sft.lora_rank=2")
    run = steps["grpo-1"].config
    assert (run.num_iterations, run.learning_rate, run.K, run.seed) == (5, 0.5, 3, 1)
    assert steps["sft"].config.lora_rank == 2
    assert steps["sft"].config.learning_rate != 0.5


def test_the_pipeline_s_own_settings(recipe):
    settings, steps = plan(recipe, recipe.parent, ["pipeline.jobs=2", "pipeline.seeds=[1,2]", "pipeline.methods=ppo"])
    assert (settings.jobs, settings.seeds, settings.methods) == (2, (1, 2), ("ppo",))
    assert [one.step.name for one in steps if one.step.script == "align-rl"] == ["ppo-1", "ppo-2"]


@pytest.mark.parametrize("text", ["pipeline.seeds=7", "pipeline.seeds=[7]", "pipeline.seeds=7,"])
def test_a_single_value_is_a_list_of_one(recipe, text):
    assert plan(recipe, recipe.parent, [text])[0].seeds == (7,)


def test_the_pipeline_s_own_flags_override_recipe_and_set(recipe):
    settings, _ = plan(recipe, recipe.parent, ["pipeline.seeds=7", "pipeline.jobs=2"], ["--seeds=8,9"])
    assert (settings.seeds, settings.jobs, settings.methods) == ((8, 9), 2, ("grpo",))


def test_commands_name_every_path(recipe):
    run, out = planned(recipe)["grpo-1"], recipe.parent / "out"
    assert run.argv == (
        *("grpo", "--config", str(recipe), "--sft", str(out / "sft"), "--rm", str(out / "rm")),
        *("--data", str(out / "data"), "--seed", "1", "--out", str(out / "grpo-1")),
    )


def test_an_imported_base_is_not_given_the_data(recipe):
    steps = planned(recipe, "base.embedded=false", "base.model=some/model")
    assert steps["base"].config.model == "some/model"
    assert steps["base"].config.data is None


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["rl.num_itertions=3"], "Did you mean num_iterations?"),
        (["rll.num_iterations=3"], "unknown section. Did you mean"),
        (["num_iterations=3"], r"expected section\.key=value"),
        (["pipeline.job=3"], "Did you mean jobs?"),
        (["pipeline.methods=[]"], "at least 1"),
        (["rl.num_iterations=0"], "greater than or equal to 1"),
    ],
)
def test_mistakes_are_found_before_anything_runs(recipe, sets, message):
    with pytest.raises(ConfigError, match=message):
        planned(recipe, *sets)


def test_a_typo_in_any_section_is_found(recipe):
    recipe.write_text(RECIPE + "[judge]\njugde = 'reference'\n")
    with pytest.raises(ConfigError, match=r"Did you mean judge\?"):
        planned(recipe)
    with pytest.raises(MissingError):
        planned(recipe.with_name("none.toml"))


def make(step, **changes) -> None:
    """Publish the data artifact of a plan, as its console script would."""
    config = {**console.deterministic(step.config), **changes}
    with publish(step.target, "dataset", producer="test", config=config) as draft:
        draft.write_text("x.txt", "x", role="x")
        draft.details = {
            "source": "test",
            "split_seed": 1,
            "counts": {},
            "categories": {},
            "formats": ["chosen"],
            "has_checks": False,
        }


def test_an_artifact_made_with_the_same_settings_is_kept(recipe):
    data = planned(recipe)["data"]
    assert not finished(data)
    make(data)
    assert finished(data)


def test_one_made_with_other_settings_stops_the_pipeline(recipe):
    data = planned(recipe)["data"]
    make(data, seed=7)
    with pytest.raises(ConfigError, match=r"made with another seed: expected 42, got 7\. Delete .*out/data"):
        finished(data)


def test_a_damaged_one_stops_the_pipeline(recipe):
    data = planned(recipe)["data"]
    data.target.mkdir(parents=True)
    with pytest.raises(VerificationError, match="cannot be used"):
        finished(data)


def test_one_made_from_another_input_stops_the_pipeline(recipe):
    steps = planned(recipe)
    make(steps["data"])
    base = steps["base"]
    with publish(
        base.target, "report", producer="test", config=console.deterministic(base.config), inputs={}
    ) as draft:  # any kind does: its record of inputs does not hold the data's digest
        draft.details = {"runs": 1, "methods": {}}
    with pytest.raises(ConfigError, match="made from another data"):
        finished(base)


def test_a_local_source_is_known_again_by_its_name_and_another_is_not(recipe, tmp_path):
    (tmp_path / "a" / "prefs").mkdir(parents=True)
    (tmp_path / "a" / "model").mkdir()
    source = f"data.source={tmp_path / 'a' / 'prefs'}"
    data = planned(recipe, source)["data"]
    make(data, source="prefs")  # as align-data records it
    assert finished(data)
    with pytest.raises(ConfigError, match="another source: expected hf:some/others, got prefs"):
        finished(planned(recipe, "data.source=some/others")["data"])


def test_another_model_is_noticed(recipe, tmp_path):
    (tmp_path / "a" / "model").mkdir(parents=True)
    base = planned(recipe, "base.embedded=false", f"base.model={tmp_path / 'a' / 'model'}")["base"]
    with publish(base.target, "report", producer="test", config=console.deterministic(base.config.identity())) as draft:
        draft.details = {"runs": 1, "methods": {}}
    assert finished(base)
    other = planned(recipe, "base.embedded=false", "base.model=maker/model")["base"]
    with pytest.raises(ConfigError, match="another model: expected hf:maker/model, got local:model"):
        finished(other)


def test_a_reward_model_of_the_chain_judges(recipe):
    judging = planned(recipe, "judge.judge=reward-model")["judgments-grpo-1"]
    assert judging.config.reward_model == recipe.parent / "out" / "rm"
    judging = planned(recipe, "judge.judge=reward-model", "pipeline.gold=true")["judgments-grpo-1"]
    assert judging.config.reward_model == recipe.parent / "out" / "rm-gold"
    assert "rm-gold" in judging.step.needs
    judging = planned(recipe, "judge.judge=reward-model:/my/rm", "pipeline.gold=true")["judgments-grpo-1"]
    assert judging.config.reward_model == Path("/my/rm")
    assert judging.step.needs == {"responses-grpo-1", "responses-sft"}
    assert "--reward-model" not in planned(recipe)["judgments-grpo-1"].argv
