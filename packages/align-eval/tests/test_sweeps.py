import math

import pytest
from fake_study import FakeStudy

from align_contracts import open_artifact, publish
from align_contracts.errors import ConfigError, KindError, VerificationError
from align_eval import compare, judge
from align_eval.config import CompareConfig, JudgeConfig
from align_eval.study import open_study
from align_eval.sweeps import equal_kl, frontiers, open_sweeps


def publish_sweep(study, policy, name=None, *, slope=10.0, farthest=0.04, temperature=1.0, rm=None):
    """Reward = slope·√KL over KL = farthest·c²; gold stays at 0.5."""
    points = []
    for strength in (0.0, 0.5, 1.0):
        kl = farthest * strength**2
        points.append({"strength": strength, "kl": kl, "reward_mean": slope * math.sqrt(max(kl, 0)), "gold": 0.5})
    name = name or f"sweep-{policy.name}"
    inputs = {"base": study.base, "policy": policy, "dataset": study.data, "reward_model": rm or study.rm}
    config = {"temperature": temperature, "eval_prompts": 8, "rollout_rows": len(name)}
    with publish(study.root / name, "responses", producer="test", config=config, inputs=inputs) as draft:
        draft.write_json("sweep.json", {"gold": "reference", "points": points}, role="sweep")
        draft.details = {
            "policy_method": policy.details.method, "seed": policy.details.seed, "prompts": 8, "split": "validation",
            "temperature": temperature, "top_p": 1.0, "max_new_tokens": 16, "sampling_seed": 0, "scored": True,
        }  # fmt: skip
    return study.root / name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    study = FakeStudy(tmp_path_factory.mktemp("sweeps"), prompts=6, validation=4)
    base = study.make_responses(study.sft, skill=0.4)
    judgments, policies = [], {}
    for method in ("ppo", "grpo"):
        for seed in (1, 2):
            policy = study.make_policy(method, seed)
            policies[policy.name] = policy
            study.make_responses(policy, skill=0.6)
            out = study.root / f"judgments-{policy.name}"
            candidate = study.root / f"responses-{policy.name}"
            judge.run(JudgeConfig(candidate=candidate, baseline=base.path, out=out, quiet=True))
            judgments.append(out)
    reach = {"ppo-1": 0.04, "ppo-2": 0.05, "grpo-1": 0.09, "grpo-2": 0.16}
    slopes = {"ppo-1": 10.0, "ppo-2": 12.0, "grpo-1": 5.0, "grpo-2": 7.0}
    sweeps = [publish_sweep(study, p, slope=slopes[n], farthest=reach[n]) for n, p in policies.items()]
    return study, judgments, policies, sweeps


def test_methods_at_equal_kl_by_hand(made):
    """The common KL is 0.04: √ = 0.2, so PPO has 2.0 and 2.4 there, GRPO 1.0 and 1.4, exactly as lines over √KL."""
    _, judgments, _, paths = made
    found = equal_kl(open_sweeps(paths[::-1], open_study(judgments)))
    assert found["budget"] == pytest.approx(0.04)
    ppo, grpo = (found["methods"][method]["reward_mean"] for method in ("ppo", "grpo"))
    assert (ppo["value"], ppo["n"]) == (pytest.approx(2.2), 2)
    assert grpo["value"] == pytest.approx(1.2)
    assert found["difference"]["reward_mean"]["value"] == pytest.approx(1.0)
    # Welch of (2.0, 2.4) and (1.0, 1.4): t = 1/√0.08 on 2 degrees of freedom
    assert found["difference"]["reward_mean"]["p"] == pytest.approx(0.0715, abs=1e-3)
    assert found["methods"]["ppo"]["gold"]["value"] == 0.5
    assert [row["kl"] for row in found["grid"]] == pytest.approx([0.04 * (i / 5) ** 2 for i in range(1, 6)])
    assert found["grid"][0]["ppo"]["reward_mean"] == pytest.approx(11 * 0.04)


def test_a_policy_that_never_moved_has_a_kl_that_may_round_below_nothing(made):
    """The estimate of a KL of 0 can be −1e-9; nothing was bought with it."""
    study, judgments, policies, paths = made
    still = publish_sweep(study, policies["ppo-1"], "sweep-still", farthest=-1e-9, slope=0.0)
    found = equal_kl(open_sweeps([still, *paths[1:]], open_study(judgments)))
    assert found["budget"] == 0
    assert all(one["reward_mean"]["value"] == 0 for one in found["methods"].values())


def test_frontiers_in_the_order_of_the_runs(made):
    _, judgments, _, paths = made
    found = frontiers(open_sweeps(paths[::-1], open_study(judgments)))
    assert [row["label"] for row in found["runs"]] == ["ppo-1", "ppo-2", "grpo-1", "grpo-2"]
    assert found["bands"]["ppo"][-1]["kl"] == pytest.approx(0.045)
    assert found["bands"]["grpo"][1] == {
        "strength": 0.5, "kl": pytest.approx(0.03125), "reward_mean": pytest.approx((5 * 0.15 + 7 * 0.2) / 2),
        "gold": 0.5, "n": 2,
    }  # fmt: skip
    assert (found["gold"], found["prompts"], found["split"]) == ("reference", 8, "validation")
    assert frontiers([]) is None
    # Reward is slope·√KL exactly, one slope a run: no bend in any of them, and nothing gained in gold.
    fits = {(row["method"], row["of"], row["form"]): row for row in found["fits"]}
    assert len(fits) == 8
    assert fits["ppo", "gold", "bon"]["alpha"] == pytest.approx(0.0, abs=1e-12)
    assert fits["ppo", "proxy", "bon"]["n"] == 4  # two runs, two strengths above 0


def test_the_report_takes_sweeps_and_names_them(made):
    study, judgments, _, paths = made
    config = CompareConfig(judgments=tuple(judgments), sweeps=tuple(paths), out=study.root / "report", quiet=True)
    assert compare.run(config) == 0
    artifact = open_artifact(study.root / "report")
    report = artifact.read_json("report")
    assert report["sweep"]["equal_kl"]["budget"] == pytest.approx(0.04)
    named = {row["name"]: row["content_digest"] for row in report["inputs"] if row["role"] == "sweep"}
    assert named == {path.name: open_artifact(path).content_digest for path in paths}
    assert len([record for record in artifact.manifest.inputs if record.role == "sweep"]) == 4


def refused(made, paths):
    _, judgments, _, _ = made
    return open_sweeps(paths, open_study(judgments))


def test_one_of_each_run_is_wanted(made):
    study, _, policies, paths = made
    with pytest.raises(ConfigError, match="no sweep of grpo-2"):
        refused(made, paths[:3])
    with pytest.raises(ConfigError, match="two sweeps of ppo-1"):
        refused(made, [paths[0], *paths])
    stranger = publish_sweep(study, study.make_policy("grpo", 7, name="stranger"))
    with pytest.raises(ConfigError, match="sweep-stranger sweeps a policy that is not compared"):
        refused(made, [*paths[:3], stranger])
    with pytest.raises(KindError, match="responses-ppo-1 is no sweep"):
        refused(made, [study.root / "responses-ppo-1"])
    assert refused(made, []) == []
    assert set(policies) == {"ppo-1", "ppo-2", "grpo-1", "grpo-2"}


@pytest.mark.parametrize(("what", "says"), [("temperature", "settings"), ("rm", "reward model")])
def test_sweeps_that_were_not_made_alike_are_refused(made, what, says):
    study, _, policies, paths = made
    other = {"temperature": 0.7} if what == "temperature" else {"rm": study.make_rm(f"rm-{what}", value=6.0)}
    odd = publish_sweep(study, policies["grpo-2"], name=f"odd-{what}", **other)
    with pytest.raises(VerificationError, match=rf"the sweeps differ in {says}: expected .*, got .*\(grpo-2\)"):
        refused(made, [*paths[:3], odd])


def test_all_sweeps_by_another_reward_model_than_the_runs_learned_from(made):
    study, _, policies, _ = made
    other = study.make_rm("rm-elsewhere", value=9.0)
    odd = [publish_sweep(study, policy, name=f"elsewhere-{name}", rm=other) for name, policy in policies.items()]
    with pytest.raises(VerificationError, match=f"reward model: expected {study.rm.content_digest[:12]}, got"):
        refused(made, odd)
