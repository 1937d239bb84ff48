"""The guard of an RL run: numbers that are not finite are injected where they would arise; it stops, or goes on."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_contracts import open_artifact
from align_contracts.errors import DivergedError
from align_mlx.compute import Compute
from align_mlx.guard import Guard, left_out
from align_mlx.loading import load_policy
from align_mlx.reward import load_scorer
from align_mlx.rollout import Prompt
from align_mlx.train_state import TrainState
from align_rl import loop
from align_rl.methods.make import make_method
from align_rl.rollout import collect
from align_rl.watch import Watch
from tiny.poison import explode_token, spoil_array, spoil_token

METHODS = ["ppo", "grpo"]
PROMPTS = [Prompt((2, 4, 7, 6, 9 + i, 5, 6, 4, 8, 6), i) for i in range(6)]
IDS = {i: f"q{i}" for i in range(6)}
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def begin(store, configure, tmp_path):
    """Begin a run on models of its own: begin(method, limit, **settings) gives what `Begun` has."""

    class Begun:
        def __init__(self, kind, limit, **settings):
            self.config = configure(kind, **{"num_iterations": 1, "controller": "none", **settings})
            self.resident = load_policy(open_artifact(store / "sft"), Compute(mx.float32, dense=True))
            self.scorer = load_scorer(open_artifact(store / "rm"), self.resident)
            self.method = make_method(self.config, self.resident, self.scorer)
            self.state = TrainState.start(self.method.params(mx.random.key(self.config.seed)))
            self.folder, self.log = tmp_path / "run", []
            self.guard = Guard(kind, self.folder, limit, self.resident)

        def train(self):
            watch = Watch(self.guard, self.method, self.scorer, self.config, IDS)
            loop.train(
                self.method,
                self.resident,
                self.scorer,
                PROMPTS,
                self.config,
                self.state,
                evaluate=lambda state, target: {},
                log=self.log.append,
                watch=watch,
            )

        def stops(self, match):
            """Train until the run stops, with its state as it was; give the diagnosis."""
            before = arrays(self.state)
            with pytest.raises(DivergedError, match=match):
                self.train()
            assert arrays(self.state) == before
            assert (self.state.iteration, self.state.memory, self.log) == (0, {}, [])
            return json.loads((self.folder / "diagnosis.json").read_text(), parse_constant=pytest.fail)

    return lambda kind, limit=0, **settings: Begun(kind, limit, **settings)


def arrays(state):
    return {name: bytes(memoryview(array)) for name, array in {**state.params, **state.moments}.items()}


def altered(monkeypatch, change):
    """Let every rollout be changed after it was collected; give the list of those that were."""
    seen = []

    def collected(*arguments, **named):
        seen.append(change(collect(*arguments, **named)))
        return seen[-1]

    monkeypatch.setattr(loop, "collect", collected)
    return seen


def with_scores(*spoilt):
    """Spoil the reward of rows: (row, value)."""

    def change(rollout):
        scores_B = rollout.scores_B.copy()
        for row, value in spoilt:
            scores_B[row] = value
        return replace(rollout, scores_B=scores_B)

    return change


def named(rows, answers):
    """The names of rows of the first iteration, by their place in its rollout."""
    order = loop.prompt_order(42, 0, 4, 6)
    return [{"id": f"q{order[row // answers]}", "answer": row % answers} for row in rows]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", METHODS)
def test_a_reward_stops_the_run(begin, monkeypatch, kind, value):
    altered(monkeypatch, with_scores((2, value)))
    record = begin(kind).stops(r"the reward is not finite at iteration 1 \(rollout\).*1 of \d+ rows: q")
    assert record["offending_rows"] == named([2], 3 if kind == "grpo" else 1)
    (row,) = [row for row in record["rows"] if row["offending"]]
    assert (row["reward"], row["kl"]) == (str(value), 0)  # the actor is still the reference
    assert record["weights"] == []


@pytest.mark.parametrize("kind", METHODS)
def test_a_damaged_embedding_names_the_rows_that_hold_the_token(begin, monkeypatch, kind):
    run = begin(kind)
    token = PROMPTS[loop.prompt_order(42, 0, 4, 6)[1]].ids[4]  # the second prompt's own
    spoil_token(run.resident, token)
    seen = altered(monkeypatch, lambda rollout: rollout)
    record = run.stops("the reward is not finite")
    held = [i for i, row in enumerate(seen[0].rows) if token in row.prompt + row.response]
    assert 0 < len(held) < len(seen[0].rows)
    assert record["offending_rows"] == named(held, 3 if kind == "grpo" else 1)
    worst = [row["largest_logit"] for row in record["rows"] if row["offending"]]
    assert set(worst) == {"nan"}
    assert all(isinstance(row["largest_logit"], float) for row in record["rows"] if not row["offending"])


@pytest.mark.parametrize("kind", METHODS)
def test_kl_stops_the_run(begin, monkeypatch, kind):
    """A policy 100 nats below its reference on one token: k3 is e^100 − 101, more than fp32 holds."""

    def drifted(rollout):
        ref = np.array(rollout.ref_logprobs_BT)
        ref[1, 0] += 100.0
        kl = np.array(rollout.kl_BT)
        kl[1, 0] = INF
        return replace(rollout, ref_logprobs_BT=mx.array(ref), kl_BT=mx.array(kl))

    altered(monkeypatch, drifted)
    record = begin(kind).stops("the KL is not finite")
    assert record["offending_rows"] == named([1], 3 if kind == "grpo" else 1)
    assert record["rows"][0]["kl"] == "inf"
    assert record["rows"][0]["largest_log_ratio"] == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("kind", METHODS)
def test_a_gradient_that_overflows_names_its_rows(begin, monkeypatch, kind):
    run = begin(kind, minibatches=1)
    token = PROMPTS[loop.prompt_order(42, 0, 4, 6)[2]].ids[4]
    explode_token(run.resident, token, 1e37)
    seen = altered(monkeypatch, lambda rollout: rollout)
    record = run.stops(r"the gradient is not finite at iteration 1 \(update\)")
    held = [i for i, row in enumerate(seen[0].rows) if token in row.prompt + row.response]
    # What has no advantage has no gradient to multiply; GRPO's trunk reads each prompt once, for all its answers.
    assert record["offending_rows"]
    assert {row["id"] for row in record["offending_rows"]} <= {row["id"] for row in named(held, run.method.answers)}
    assert all(row["gradient_norm"] == "inf" for row in record["rows"] if row["offending"])
    assert record["settings"]["learning_rate"] == run.config.learning_rate
    assert "gradients" in record["norms"]


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize(
    ("place", "group", "tensor"),
    [("actor", "trained", "actor."), ("moment", "optimizer", "/v"), ("head", "reward model", "weight")],
)
def test_weights_stop_the_run_and_are_named(begin, kind, place, group, tensor):
    run = begin(kind)
    if place == "actor":
        name = next(name for name in run.state.params if name.startswith("actor.") and name.endswith("lora_b"))
        run.state.params[name] = spoil_array(run.state.params[name])
    elif place == "moment":
        name = next(name for name in run.state.params if name.startswith("actor."))
        run.state.optimizer.state[name]["v"] = spoil_array(run.state.optimizer.state[name]["v"], INF)
    else:
        run.scorer.head["weight"] = spoil_array(run.scorer.head["weight"], INF)
    record = run.stops(f"weights of the {group}|weight after the step")
    assert {"group": group, "nan": int(place == "actor"), "inf": int(place != "actor")}.items() <= record["weights"][
        0
    ].items()
    assert tensor in record["weights"][0]["tensor"]


def test_a_critic_stops_the_run(begin):
    """The critic's head is part of what is trained; its values would be returns, and their variance explained."""
    run = begin("ppo")
    run.state.params["head.weight"] = spoil_array(run.state.params["head.weight"])
    record = run.stops("explained variance is not finite")
    assert record["weights"][0]["tensor"] == "head.weight"
    assert len(record["offending_rows"]) == 4


@pytest.mark.parametrize("kind", METHODS)
def test_an_allowed_row_leaves_as_if_it_had_not_been_drawn(begin, monkeypatch, kind):
    settings = {"num_iterations": 2, "scale_rewards": "batch"} if kind == "grpo" else {"num_iterations": 2}
    with monkeypatch.context() as patch:
        altered(patch, with_scores((2, NAN)))
        left = begin(kind, 2, **settings)
        left.train()
    altered(monkeypatch, lambda rollout: rollout.part([i for i in range(len(rollout.answers)) if i != 2]))
    never = begin(kind, 0, **settings)
    never.train()
    assert arrays(left.state) == arrays(never.state)
    assert [row["iteration"] for row in left_out(left.state)] == [1, 2]
    assert left_out(left.state)[0] == {"iteration": 1, **named([2], left.method.answers)[0]}
    assert [record["responses"] for record in left.log] == [11, 11] if kind == "grpo" else [3, 3]


@pytest.mark.parametrize("kind", METHODS)
def test_one_row_more_than_allowed_stops(begin, monkeypatch, kind):
    altered(monkeypatch, with_scores((0, NAN), (3, INF)))
    record = begin(kind, 1).stops("0 rows had been left out before, of at most 1")
    assert len(record["offending_rows"]) == 2


@pytest.mark.parametrize("kind", METHODS)
def test_what_is_left_is_looked_at_again(begin, monkeypatch, kind):
    """One NaN may be left out; the sum of the other rewards, each finite, overflows fp32."""
    altered(monkeypatch, with_scores((0, NAN), *((row, 3e38) for row in range(1, 12 if kind == "grpo" else 4))))
    run = begin(kind, 2)
    with pytest.raises(DivergedError, match=r"not finite at iteration 1 .experience.: .*together they overflow"):
        run.train()
    assert run.log == []


def test_no_answer_left(begin, monkeypatch):
    altered(monkeypatch, with_scores(*((row, NAN) for row in range(4))))
    run = begin("ppo", 9)
    with pytest.raises(DivergedError, match="in iteration 1 no answer is left"):
        run.train()


def test_an_answer_alone_in_its_group_leaves_too(begin, monkeypatch):
    """Two of three answers to the second prompt are spoilt: the third has no group to be compared with."""
    altered(monkeypatch, with_scores((3, NAN), (5, NAN)))
    run = begin("grpo", 2)
    run.train()
    assert run.log[0]["responses"] == 9
    assert [row["answer"] for row in left_out(run.state)] == [0, 2]


def test_no_group_left(begin, monkeypatch):
    altered(monkeypatch, with_scores((0, NAN), (2, NAN), (4, NAN)))
    run = begin("grpo", 9, K=2, batch_size=3, minibatches=3)
    with pytest.raises(DivergedError, match="in iteration 1 no prompt has two answers left"):
        run.train()


@pytest.mark.parametrize("kind", METHODS)
def test_a_row_of_a_minibatch_leaves_it_for_all_epochs(begin, monkeypatch, kind):
    """The loss of the first row of the rollout is NaN whenever it is part of a pass."""
    run = begin(kind, 1, minibatches=1, ppo_epochs=2)
    seen = altered(monkeypatch, lambda rollout: rollout)
    name = "loss" if kind == "grpo" else "actor_loss"
    honest, passes = getattr(run.method, name), []

    def loss(params, part, weights_BT):
        value, facts = honest(params, part, weights_BT)
        hit = any(row is seen[0].rows[0] or row == seen[0].rows[0] for row in part.rows)
        passes.append((hit, len(part.rows)))
        return value + (NAN if hit else 0.0), facts

    monkeypatch.setattr(run.method, name, loss)
    run.train()
    assert left_out(run.state) == [{"iteration": 1, **named([0], run.method.answers)[0]}]
    assert run.log[0]["updates"] == 2
    assert not passes[-1][0]
    assert all(np.isfinite(value) for value in run.log[0].values() if isinstance(value, float))


def test_values_of_single_rows_leave_the_rollout(begin, monkeypatch):
    """PPO's critic gives no number on one answer: it leaves before advantages are whitened over all."""
    run = begin("ppo", 1)
    honest = run.method.values

    def values(params, batch):
        found = honest(params, batch)
        first = mx.all(batch.tokens_BL[:, 4:5] == PROMPTS[loop.prompt_order(42, 0, 4, 6)[0]].ids[4], axis=1)
        return mx.where(first[:, None] & (batch.mask_BT > 0), NAN, found)

    monkeypatch.setattr(run.method, "values", values)
    run.train()
    assert left_out(run.state) == [{"iteration": 1, **named([0], 1)[0]}]


def test_what_overflows_beside_the_loss_stops_before_the_update(begin, monkeypatch):
    """GSPO's ratio is of the whole answer and may be fine where a single token's overflows: k3's estimate is inf."""
    run = begin("grpo", loss_type="gspo", minibatches=1)
    honest = run.method.loss

    def loss(params, part, weights_BT):
        value, facts = honest(params, part, weights_BT)
        return value, {**facts, "approx_kl": mx.array(INF)}

    monkeypatch.setattr(run.method, "loss", loss)
    before = arrays(run.state)
    with pytest.raises(DivergedError, match="the approx kl is not finite"):
        run.train()
    assert arrays(run.state) == before
