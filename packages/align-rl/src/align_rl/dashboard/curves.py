"""What is drawn: curves of the same quantity over iterations, one a run, in the colour of its method."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from align_rl.dashboard.runs import WatchedRun, number, position
from align_rl.dashboard.tail import Row

MIB, GIB = 2.0**20, 2.0**30
TONES: Mapping[str, tuple[str, str]] = {
    # Blue and vermilion of Okabe and Ito, as in the report: the same for a method wherever it is drawn.
    "ppo": ("#0068A8", "#5BB4EC"),
    "grpo": ("#BF4D00", "#F2965C"),
    "sft": ("#5B6573", "#A3AEBD"),
    "rm": ("#00795A", "#3CC9A0"),
    "base": ("#8F4B7A", "#D79ABF"),
    "run": ("#5B6573", "#A3AEBD"),
}
"""Each method's colour on a light and on a dark ground."""
Points = list[tuple[float, float]]
Measure = Callable[[Row], float | None]


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        label: the run's name.
        tone: the method whose colour it has; ``target`` for what the run is held against.
        place: which of its method's runs this is, from 0: how it is dashed.
        points: (iteration, value).
        dots: whether the points are few and shown each.
    """

    label: str
    tone: str
    place: int
    points: Points
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot: curves of a quantity, its title and unit."""

    title: str
    unit: str
    curves: tuple[Curve, ...]

    @property
    def x(self) -> tuple[float, float]:
        """First and last iteration."""
        every = [x for curve in self.curves for x, _ in curve.points]
        return min(every), max(*every, min(every) + 1)

    @property
    def y(self) -> tuple[float, float]:
        """Least and largest value with a little room; not below 0 for what never is."""
        every = [y for curve in self.curves for _, y in curve.points]
        low, high = min(every), max(every)
        room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
        return (max(0.0, low - room) if low >= 0 else low - room), high + room


def tokens_per_second(row: Row) -> float | None:
    """Tokens sampled a second of rollout; of SFT, tokens learned from a second."""
    tokens, seconds = number(row, "response_tokens"), number(row, "phases", "rollout")
    if tokens is None:
        tokens, seconds = number(row, "tokens"), number(row, "seconds")
    return tokens / seconds if tokens is not None and seconds else None


def scaled(factor: float, *names: str) -> Measure:
    """A number of a row in another unit."""

    def measure(row: Row) -> float | None:
        value = number(row, *names)
        return None if value is None else value * factor

    return measure


Kind = tuple[str, str, bool, Measure]
"""A plot: title, unit, whether it is of held-out data, and what is drawn."""
TARGETS = "KL to SFT, dotted: its target"
REINFORCED: tuple[Kind, ...] = (
    ("reward", "", False, scaled(1, "reward_mean")),
    (TARGETS, "nats a token", False, scaled(1, "kl")),
    ("win rate against SFT by the reward model", "%", True, scaled(100, "win_rate")),
    ("response length", "tokens", False, scaled(1, "response_length_mean")),
    ("throughput of rollouts", "tokens/s", False, tokens_per_second),
    ("memory at its peak", "B", False, scaled(1, "peak_memory_bytes")),
    ("perplexity on held-out answers", "", True, scaled(1, "perplexity")),
    ("time of an iteration", "s", False, scaled(1, "seconds")),
)
"""What PPO and GRPO show, the most telling first. The loss of a policy gradient says nothing of how a run goes."""
SUPERVISED: tuple[Kind, ...] = (
    ("loss of a step", "", False, scaled(1, "loss")),
    ("perplexity on held-out answers, by step", "", True, scaled(1, "perplexity")),
    ("accuracy on held-out pairs, by step", "%", True, scaled(100, "pairwise_accuracy")),
    ("throughput of learning", "tokens/s", False, tokens_per_second),
    ("memory at its peak, by step", "B", False, scaled(1, "peak_memory_bytes")),
)
"""What SFT and reward models show."""
PRETRAINED: tuple[Kind, ...] = (("loss of a step, pre-training", "", False, scaled(1, "loss")),)
"""What the embedded base shows, apart: it takes ten times as many steps."""
RL = ("ppo", "grpo")


def panels(runs: Sequence[WatchedRun]) -> list[Panel]:
    """Give every plot that has something to show, the most telling ones first, RL's before the others'.

    Rewards, KL and lengths are of the training rollouts; win rate, perplexity and accuracy of held-out data.
    """
    placed = list(zip(runs, places(runs), strict=True))
    found = []
    for kinds, learners in (
        (REINFORCED, [one for one in placed if one[0].method in RL]),
        (SUPERVISED, [one for one in placed if one[0].method not in (*RL, "base")]),
        (PRETRAINED, [one for one in placed if one[0].method == "base"]),
    ):
        for title, unit, held_out, measure in kinds:
            curves = _curves(learners, measure, held_out)
            if curves and title == TARGETS:
                curves = _targets(learners) + curves
            if curves:
                panel = Panel(title, unit, curves)
                found.append(in_binary(panel) if unit == "B" else panel)
    return found


def in_binary(panel: Panel) -> Panel:
    """Give a plot of bytes in GiB, or in MiB where none reaches one GiB."""
    largest = max(y for curve in panel.curves for _, y in curve.points)
    unit, size = ("GiB", GIB) if largest >= GIB else ("MiB", MIB)
    curves = (replace(curve, points=[(x, y / size) for x, y in curve.points]) for curve in panel.curves)
    return Panel(panel.title, unit, tuple(curves))


def places(runs: Sequence[WatchedRun]) -> list[int]:
    """Number the runs of each method from 0."""
    methods = [run.method for run in runs]
    return [methods[:i].count(method) for i, method in enumerate(methods)]


def _curves(placed: Sequence[tuple[WatchedRun, int]], measure: Measure, held_out: bool) -> tuple[Curve, ...]:
    made = []
    for run, place in placed:
        rows = run.points if held_out else run.rows
        points = [(float(position(row)), value) for row in rows if (value := measure(row)) is not None]
        if points:
            made.append(Curve(run.name, run.method, place, points, dots=held_out))
    return tuple(made)


def _targets(placed: Sequence[tuple[WatchedRun, int]]) -> tuple[Curve, ...]:
    """The KL targets, each course of them once: runs of one study have the same."""
    courses: dict[tuple[tuple[float, float], ...], None] = {}
    for run, _ in placed:
        course = [(float(position(r)), t) for r in run.rows if (t := number(r, "target_kl")) is not None]
        corners: Points = []
        for _, phase in groupby(course, key=lambda point: point[1]):
            steps = list(phase)
            corners += [steps[0], steps[-1]] if len(steps) > 1 else steps
        courses[tuple(corners)] = None
    longest = sorted((c for c in courses if c), key=len)
    return tuple(Curve("target", "target", i, list(course)) for i, course in enumerate(longest))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Give round numbers between two, not more than `most`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(value: float) -> str:
    """Write a number beside an axis: three digits that count, no exponent up to a billion."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
