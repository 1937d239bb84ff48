import pytest

from align_rl.dashboard.curves import Curve, Panel, in_binary, panels, tick, ticks
from align_rl.dashboard.runs import Watched


@pytest.fixture
def drawn(logs, row, tmp_path):
    """The panels of two PPO runs, a GRPO run and an SFT run, by title."""
    for name, method in (("ppo-1", "ppo"), ("ppo-2", "ppo"), ("grpo-1", "grpo")):
        point = {"eval": {"win_rate": 0.5, "perplexity": 2.0}}
        logs.append(name, *(row(n, method=method, **(point if n % 2 == 0 else {})) for n in (1, 2, 3, 4)))
    logs.append("sft", *({"method": "sft", "step": n, "loss": 1.0 / n, "seconds": 1.0} for n in (1, 2)))
    watched = Watched([tmp_path])
    watched.poll()
    return {panel.title: panel for panel in panels(watched.runs)}


def test_a_method_has_one_colour_and_its_runs_a_dash_each(drawn):
    curves = drawn["reward"].curves
    assert [(c.label, c.tone, c.place) for c in curves] == [
        ("grpo-1", "grpo", 0),
        ("ppo-1", "ppo", 0),
        ("ppo-2", "ppo", 1),
    ]
    assert curves[0].points == [(1, 0.5), (2, 1.0), (3, 1.5), (4, 2.0)]


def test_kl_is_shown_against_its_phased_target_drawn_once(drawn):
    target, *runs = drawn["KL to SFT, dotted: its target"].curves
    assert (target.tone, target.points) == ("target", [(1, 0.05), (2, 0.05), (3, 0.02), (4, 0.02)])
    assert len(runs) == 3


def test_evaluation_points_stand_at_their_iterations(drawn):
    (curve, *_) = drawn["win rate against SFT by the reward model"].curves
    assert curve.points == [(2, 50.0), (4, 50.0)]
    assert curve.dots


def test_units(drawn):
    memory = drawn["memory at its peak"]
    assert (memory.unit, {y for _, y in memory.curves[0].points}) == ("GiB", {2.0})  # 2^31 bytes
    small = in_binary(Panel("", "B", (Curve("a", "ppo", 0, [(1, 2.0**21), (2, 2.0**29)]),)))
    assert (small.unit, small.curves[0].points) == ("MiB", [(1, 2.0), (2, 512.0)])
    assert {y for _, y in drawn["throughput of rollouts"].curves[0].points} == {300.0}


def test_rl_and_supervised_learning_do_not_share_an_axis(drawn):
    assert [c.label for c in drawn["loss of a step"].curves] == ["sft"]
    assert all(c.tone != "sft" for c in drawn["time of an iteration"].curves)


def test_bounds_leave_room_and_do_not_invent_negative_values():
    panel = Panel("", "", (Curve("a", "ppo", 0, [(1, 0.0), (11, 1.0)]),))
    assert panel.x == (1, 11)
    assert panel.y == (0.0, pytest.approx(1.04))
    one = Panel("", "", (Curve("a", "ppo", 0, [(5, 3.0)]),))
    assert one.x == (5, 6)
    assert one.y == pytest.approx((2.7, 3.3))


def test_ticks_are_round_numbers():
    assert ticks(0.0, 0.19) == pytest.approx([0.0, 0.05, 0.1, 0.15])  # 0.19 / 5 = 0.038, up to 0.05
    assert ticks(-0.32, 3.8) == pytest.approx([0, 1, 2, 3])  # 4.12 / 5 = 0.824, up to 1
    assert ticks(17, 23) == pytest.approx([18, 20, 22])
    assert [tick(v) for v in (0.0625, 12.34, 1234.5, 2e10)] == ["0.0625", "12.3", "1234", "2e+10"]
