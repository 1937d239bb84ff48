"""From a run that can be interrupted to its artifact: `align_mlx.unfinished` around `align_contracts.publish`."""

import filecmp
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from align_contracts import Artifact, Draft, publish, signals
from align_contracts.durable import clean_stale, locked, make_directory
from align_mlx import checkpoints
from align_mlx.identity import decisive, program, require_one_run
from align_mlx.progress import Meter
from align_mlx.tracking import tracking
from align_mlx.unfinished import Identity, Run
from align_mlx.world import ALONE, World

LOG = "train.jsonl"
"""The log of every run, in its folder and in its artifact."""


@contextmanager
def training(
    config: Any,
    kind: str,
    *,
    producer: str,
    inputs: Mapping[str, Artifact],
    meter: Meter | None = None,
    world: World = ALONE,
) -> Iterator[tuple[Draft, Run]]:
    """Publish the artifact of a run that can be interrupted; see `align_contracts.publish`.

    SIGINT and SIGTERM end the block with InterruptedRun at the next `signals.check`, and the last whole iteration is
    saved. When the block ends normally the artifact is published and the run folder removed; after an error the
    folder stays.

    Args:
        config: the stage's settings, with `out`, `overwrite`, `ResumeSettings` and `TrackingSettings`.
        kind: of the artifact.
        producer: distribution name of the stage.
        inputs: its input artifacts by role.
        meter: shows what is done and counts iterations; open while the block runs. None: nothing is shown.
        world: the processes that do it together; the first one alone publishes and keeps.

    Yields:
        The draft to fill, and the run.

    Raises:
        ConfigError: the processes were given other settings or inputs.
        InterruptedRun: the run was asked to stop; the message says how to continue.
        LockedError: another process is at this run.
    """
    out = Path(os.path.abspath(config.out))
    folder = out.parent / f".{out.name}.run"
    digests = {role: artifact.content_digest for role, artifact in inputs.items()}
    identity = {"settings": decisive(config), "inputs": digests}
    require_one_run(identity, world)
    if not world.writes:
        with _helping(config, kind, identity, world) as helper:
            yield helper
        return
    make_directory(out.parent, parents=True)
    with tracking(config, out) as track, locked(folder), signals.listening() as listener:
        clean_stale(folder)
        if not config.overwrite:
            _clear_finished(folder, out)
        kept = publish(config.out, kind, producer=producer, config=config, inputs=inputs, overwrite=config.overwrite)
        with kept as draft, meter or Meter("", quiet=True) as shown:
            made_by = {**program(producer), **({"processes": world.size} if world.size > 1 else {})}
            run = Run(folder, identity, config, [made_by], listener, track, world, shown)
            run.find()
            try:
                yield draft, run
            except Exception as error:
                run.leave(error)
                raise
            if len(run.made_by) > 1:
                draft.extensions["made_by"] = run.made_by
            if world.size > 1:
                draft.extensions["processes"] = world.size
        run.published()


def _clear_finished(folder: Path, out: Path) -> None:
    """Remove the run folder of a run that was killed right after it had published: the logs agree, times included."""
    kept, published = folder / LOG, out / LOG
    if kept.is_file() and published.is_file() and filecmp.cmp(kept, published, shallow=False):
        checkpoints.remove(folder)


@contextmanager
def _helping(config: Any, kind: str, identity: Identity, world: World) -> Iterator[tuple[Draft, Run]]:
    """Give a process that keeps nothing a draft and a run folder which are thrown away."""
    with TemporaryDirectory() as scratch, signals.listening() as listener:
        (draft := Path(scratch, "draft")).mkdir()
        yield Draft(draft, kind, config), Run(Path(scratch, "run"), identity, config, listener=listener, world=world)
