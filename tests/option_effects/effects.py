"""Tables of options: another value for each, and the outcome of a real run that must change with it.

A table covers one config class. Its runs go through the stage's public ``run(config)`` on tiny artifacts that the
stages themselves made; a run is watched from outside, so that an option of computing is seen to work too::

    Table(TrainConfig, train.run, {"base": at("base"), ...}, {"rank": Effect(2, lora_ranks, want={2}), ...})
"""

import hashlib
import importlib
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from pydantic import BaseModel, ValidationError

from align_contracts import Artifact, open_artifact
from align_contracts.errors import AlignError
from align_mlx import checkpoints
from align_mlx.adapters import AdaptedLinear
from align_mlx.prefix import Prefix
from align_mlx.resident import Resident
from align_mlx.train_state import TrainState
from align_rl.rollout import collect

ANY = object()
"""No value known by hand."""


@dataclass(frozen=True)
class Pass:
    """One forward pass: its tokens [rows, width], whether it decodes with a cache, and how it computes."""

    rows: int
    width: int
    decoding: bool
    dtype: mx.Dtype
    quantized: bool


@dataclass
class Watch:
    """What a run did: its forward passes, adapted products, optimizer updates, checkpoints, and most kept at a time."""

    passes: list[Pass] = field(default_factory=list)
    products: int = 0
    updates: int = 0
    saves: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Place:
    """Where a run finds and leaves things: the store that all runs share, and its own directory."""

    store: Path
    folder: Path


@dataclass
class Outcome:
    """What a run left behind.

    Attributes:
        folder: its own directory, in which it published ``out``.
        settings: what it was given, beside defaults.
        error: why it was refused, if it was.
        stdout, stderr: what it printed.
        watch: what it did.
    """

    folder: Path
    settings: Mapping[str, Any]
    error: Exception | None
    stdout: str
    stderr: str
    watch: Watch

    @cached_property
    def artifact(self) -> Artifact:
        """The published artifact."""
        return open_artifact(self.folder / "out")

    def rows(self, role: str) -> list[dict[str, Any]]:
        """The rows of one of its files."""
        return self.artifact.read_jsonl(role)

    def column(self, name: str, role: str = "log") -> list[Any]:
        """One column of such a file."""
        return [row[name] for row in self.rows(role)]

    def arrays(self, role: str) -> dict[str, np.ndarray]:
        """The arrays of a safetensors file, in fp32."""
        loaded = mx.load(str(self.artifact.file(role)))
        return {name: np.array(value.astype(mx.float32)) for name, value in loaded.items()}


See = Callable[[Outcome], Any]


@dataclass(frozen=True)
class Effect:
    """What happens when an option gets another value.

    Attributes:
        value: that value.
        sees: what is looked at; it must differ between a run without and one with that value.
        given: settings of both runs, beside the table's.
        to: settings that come with the other value, which makes no sense alone.
        want: what is seen with the other value, where it is known by hand.
        moves: or the direction, as ``moves(with, without)``.
        same: what stays the same but for rounding: options of computing decide how, not what.
        first: what happens in the run's directory before it: ``first(run, config)``.
        fault: what goes wrong during it.
    """

    value: Any
    sees: See
    given: Mapping[str, Any] = field(default_factory=dict)
    to: Mapping[str, Any] = field(default_factory=dict)
    want: Any = ANY
    moves: Callable[[Any, Any], bool] | None = None
    same: See | None = None
    first: Callable[[Callable[[Any], int], Any], None] | None = None
    fault: Callable[[], AbstractContextManager[None]] = nullcontext


Effects = Effect | tuple[Effect, ...]


@dataclass(frozen=True)
class Table:
    """The options of one config class; `base` are the settings that all its runs share."""

    config: type[BaseModel]
    run: Callable[[Any], int]
    base: Mapping[str, Any]
    options: Mapping[str, Effects]

    def __str__(self) -> str:
        return f"{self.config.__module__.split('.')[0]}-{self.config.__name__}"

    def cases(self) -> Iterator[Any]:
        """Every (table, option, effect), as pytest parameters."""
        for name, effects in self.options.items():
            for effect in effects if isinstance(effects, tuple) else (effects,):
                yield pytest.param(self, name, effect, id=f"{self}-{name}={label(effect.value)}")


def label(value: Any) -> str:
    """A short name of a value."""
    return value.__name__ if callable(value) else str(value)


def at(name: str) -> Callable[[Place], str]:
    """A path of the store; the runs make it out of the name."""
    return named(lambda place: str(place.store / name), name)


def inside(name: str) -> Callable[[Place], str]:
    """A path of a run's own directory."""
    return named(lambda place: str(place.folder / name), f"./{name}")


def named(value: Callable[[Place], str], name: str) -> Callable[[Place], str]:
    """A value that is known only when a run starts, with a name for tests and for equal runs."""
    value.__name__ = name
    return value


@contextmanager
def watching() -> Iterator[Watch]:
    """Count what a run does, from outside."""
    watch = Watch()
    hidden, product, update, save = Resident.hidden, AdaptedLinear.__call__, TrainState.update, TrainState.save

    def passed(self: Resident, tokens_BL: mx.array, adapters: Any = (), cache: Any = None) -> mx.array:
        quantized = any(isinstance(module.base, nn.QuantizedLinear) for module in self.maps.values())
        out = hidden(self, tokens_BL, adapters, cache)
        decoding = cache is not None and not isinstance(cache[0], Prefix)
        watch.passes.append(Pass(*tokens_BL.shape, decoding, out.dtype, quantized))
        return out

    def multiplied(self: AdaptedLinear, x: mx.array) -> mx.array:
        watch.products += 1
        return product(self, x)

    def updated(self: TrainState, *args: Any, **more: Any) -> float:
        watch.updates += 1
        return update(self, *args, **more)

    def saved(self: TrainState, path: Path) -> None:
        watch.saves += 1
        watch.kept = max(watch.kept, len(checkpoints.numbered(path.parent)))
        save(self, path)

    with (
        patch.object(Resident, "hidden", passed),
        patch.object(AdaptedLinear, "__call__", multiplied),
        patch.object(TrainState, "update", updated),
        patch.object(TrainState, "save", saved),
    ):
        yield watch


class Runs:
    """Runs of tables over one store; equal settings run once."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store = folder, store
        self.known: dict[str, Outcome] = {}

    def __call__(self, table: Table, effect: Effect, /, **changes: Any) -> Outcome:
        """Run a table's stage with an effect's given settings and these changes."""
        settings = {**table.base, **effect.given, **changes}
        key = f"{table} {effect.first} {effect.fault} {sorted((k, label(v)) for k, v in settings.items())}"
        if key not in self.known:
            folder = self.folder / str(len(self.known))
            folder.mkdir()
            self.known[key] = self._run(table, effect, settings, folder)
        return self.known[key]

    def _run(self, table: Table, effect: Effect, settings: dict[str, Any], folder: Path) -> Outcome:
        place = Place(self.store, folder)
        values = {name: value(place) if callable(value) else value for name, value in settings.items()}
        if "out" in table.config.model_fields:
            values.setdefault("out", folder / "out")
        error: Exception | None = None
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            if effect.first is not None:
                effect.first(table.run, table.config(**values))
            with watching() as watch, effect.fault():
                try:
                    table.run(table.config(**values))
                except (AlignError, ValidationError) as refused:
                    error = refused
        return Outcome(folder, values, error, out.getvalue(), err.getvalue(), watch)


def check(runs: Runs, table: Table, name: str, effect: Effect) -> None:
    """Assert that an option has its effect, in its direction, and no other."""
    before, after = runs(table, effect), runs(table, effect, **effect.to, **{name: effect.value})
    for outcome in (before, after):
        if effect.sees is not refusal and outcome.error is not None:
            raise outcome.error
    seen, now = effect.sees(before), effect.sees(after)
    assert now != seen, f"{name} = {label(effect.value)} changes nothing: {seen}"
    if effect.want is not ANY:
        want = pytest.approx(effect.want) if _numeric(effect.want) else effect.want
        assert now == want, f"{name} = {label(effect.value)}"
    if effect.moves is not None:
        assert effect.moves(now, seen), f"{name} = {label(effect.value)}: {seen} → {now}"
    if effect.same is not None:
        one, two = effect.same(before), effect.same(after)
        assert one.keys() == two.keys()
        for part, value in one.items():
            np.testing.assert_allclose(two[part], value, rtol=2e-3, atol=2e-4, err_msg=part)


def _numeric(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(one, float) for one in values)


# What is looked at, whatever the stage.


def refusal(outcome: Outcome) -> str | None:
    """The name of the error of a refused run."""
    return None if outcome.error is None else type(outcome.error).__name__


def forecast(outcome: Outcome) -> tuple[set[str], bool]:
    """The artifacts in the run's directory, and whether it printed a peak of memory."""
    return published(outcome), "peak memory" in outcome.stdout


def tracked(outcome: Outcome) -> set[str]:
    """The directories in which a tracker's files lie."""
    return {path.parents[2].name for path in outcome.folder.rglob("events.out.tfevents.*")}


def published(outcome: Outcome) -> set[str]:
    """The artifacts in the run's directory."""
    return {path.parent.name for path in outcome.folder.glob("*/manifest.json")}


def silent(outcome: Outcome) -> bool:
    """Whether nothing was printed."""
    return not outcome.stdout + outcome.stderr


def inputs(*roles: str) -> See:
    """The digests of what a result was made from."""
    return lambda o: [record.content_digest for record in o.artifact.manifest.inputs if record.role in roles]


def metric(name: str) -> See:
    """A metric of the manifest."""
    return lambda o: o.artifact.metric(name)


def detail(*path: str) -> See:
    """A value of the manifest's details."""

    def see(outcome: Outcome) -> Any:
        value: Any = outcome.artifact.details
        for name in path:
            value = getattr(value, name)
        return value

    return see


def column(name: str, role: str = "log") -> See:
    """A column of a JSONL file."""
    return lambda o: o.column(name, role)


def arrays(role: str) -> See:
    """The arrays of a file."""
    return lambda o: o.arrays(role)


def content(role: str) -> See:
    """The digest of a file."""
    return lambda o: hashlib.sha256(o.artifact.file(role).read_bytes()).hexdigest()


def passes(outcome: Outcome) -> int:
    """How many forward passes were made or traced."""
    return len(outcome.watch.passes)


def decodings(outcome: Outcome) -> int:
    """How many steps of sampling were made."""
    return sum(one.decoding for one in outcome.watch.passes)


def widest(outcome: Outcome) -> int:
    """The most rows that were decoded at the same time."""
    return max(one.rows for one in outcome.watch.passes if one.decoding)


def products(outcome: Outcome) -> int:
    """How often an adapted linear map was applied."""
    return outcome.watch.products


def number_format(outcome: Outcome) -> set[str]:
    """The number formats of the hidden states."""
    return {str(one.dtype) for one in outcome.watch.passes}


def quantized(outcome: Outcome) -> set[bool]:
    """Whether products were taken with quantized weights."""
    return {one.quantized for one in outcome.watch.passes}


# What happens before a run.


def finished(run: Callable[[Any], int], config: Any) -> None:
    """The same run, done before."""
    run(config)


def interrupted(run: Callable[[Any], int], config: Any) -> None:
    """The same run, killed after its second update, with a state saved after each."""
    update, done = TrainState.update, []

    def stop(self: TrainState, *args: Any, **more: Any) -> float:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return update(self, *args, **more)

    with patch.object(TrainState, "update", stop), pytest.raises(KeyboardInterrupt):
        run(config)


def spoilt_row(*places: str) -> Callable[[], AbstractContextManager[None]]:
    """Let the loss be NaN wherever the first row of the first pass takes part; `places` name `make_gradient`."""

    @contextmanager
    def fault() -> Iterator[None]:
        first: list[tuple[int, ...]] = []

        def spoil(make: Callable[..., Any]) -> Callable[..., Any]:
            def made(*arguments: Any, **more: Any) -> Callable[..., Any]:
                honest = make(*arguments, **more)

                def gradient(params: Any, *arrays: mx.array) -> Any:
                    tokens_BL = next(array for array in arrays if array.ndim == 2)
                    rows = [tuple(np.trim_zeros(row, "b")) for row in np.array(tokens_BL)]
                    first.extend(rows[: not first])
                    loss, grads = honest(params, *arrays)
                    return (loss * mx.nan if first[0] in rows else loss), grads

                return gradient

            return made

        with ExitStack() as stack:
            for place in places:
                module, _, name = place.rpartition(".")
                honest = getattr(importlib.import_module(module), name)
                stack.enter_context(patch(place, spoil(honest)))
            yield

    return fault


@contextmanager
def spoilt_reward() -> Iterator[None]:
    """Let the first answer of the first rollout have no reward."""
    done: list[int] = []

    def collected(*arguments: Any, **more: Any) -> Any:
        rollout = collect(*arguments, **more)
        if not done:
            rollout.scores_B[0] = np.nan
            done.append(1)
        return rollout

    with patch("align_rl.loop.collect", collected):
        yield
