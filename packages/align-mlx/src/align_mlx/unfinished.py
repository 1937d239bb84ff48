"""What a run keeps on disk until its artifact is published, so that whatever ends it costs a few iterations only.

The run that makes ``runs/sft`` keeps everything in ``runs/.sft.run``: its log and evaluation points as they grow, and
checkpoints. A run goes on from its newest checkpoint that verifies, if that has the same identity: the settings that
decide the result, and the content digests of the inputs. The loop says where it may go on::

    with training(config, "policy", producer="align-sft", inputs=inputs) as (draft, run):
        run.begin(state, steps)
        while state.iteration < steps:
            ...                                    # interrupted here, the iteration begins again
            run.log("train.jsonl", row)
            run.reached(state)
            run.meter.advance(loss=loss)
        run.save()
"""

import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from align_contracts import Draft, signals
from align_contracts.durable import disk_errors, make_directory, put_in_place, sync_tree, temp_path
from align_contracts.errors import ConfigError, DivergedError, InterruptedRun, MissingError, PreflightError
from align_contracts.signals import Listener
from align_mlx import checkpoints
from align_mlx.checkpoints import CHECKPOINTS, RECORD, Journal, Record
from align_mlx.identity import differences, fingerprint
from align_mlx.live import LiveFiles
from align_mlx.progress import Meter
from align_mlx.replaced import Replaced
from align_mlx.settings import ResumeSettings
from align_mlx.tracking import SILENT, Track
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World

Identity = dict[str, dict[str, Any]]


@dataclass
class Run:
    """An unfinished run.

    Attributes:
        folder: its directory, beside the artifact to be.
        identity: what the result depends on, by part and name.
        settings: how it is kept and continued.
        made_by: the program; every version of it that had a part in the run, once it has begun.
        listener: hears signals.
        track: shows what is logged to a tracker.
        world: the processes of the run. Only the first keeps anything; the others are given its state, and what they
            write goes into a temporary folder.
        meter: counts its iterations, under the name that its stage has for them.
    """

    folder: Path
    identity: Identity
    settings: ResumeSettings
    made_by: list[dict[str, Any]] = field(default_factory=list)
    listener: Listener = field(default_factory=Listener)
    track: Track = SILENT
    world: World = ALONE
    meter: Meter = field(default_factory=lambda: Meter("", quiet=True))
    _found: tuple[Path, Record] | None = None
    _start: tuple[TrainState, Journal] | None = None
    _saved: int | None = None
    _unsaved: bool = True

    def __post_init__(self) -> None:
        self._live = LiveFiles(self.folder)
        self._replaced = Replaced(self.folder)

    def find(self) -> None:
        """Find the checkpoint to go on from, as the setting `resume` says, before anything large is loaded.

        Raises:
            ConfigError: the unfinished run has other settings or inputs.
            VerificationError: none of its checkpoints is whole.
            MissingError: there is no run to resume where the setting says.
        """
        checkpoints.clean(self.folder / CHECKPOINTS)
        self._replaced.settle()
        if self.settings.resume == "never":
            return
        if self.settings.resume != "auto":
            self._adopt(Path(self.settings.resume))
        found = checkpoints.newest(self.folder)
        if found is not None:
            checkpoint, record, wrong = found
            self._require_same(record, self.folder)
            for newer, error in zip(checkpoints.numbered(self.folder / CHECKPOINTS), wrong, strict=False):
                checkpoints.set_aside(newer, error)
            self._join(record.made_by)
            self._found = checkpoint, record

    def begin(self, state: TrainState, total: int) -> None:
        """Go on from the checkpoint that was found, if there was one, and say so.

        Args:
            state: the state of a fresh run; becomes the saved one.
            total: iterations of the whole run.
        """
        if self.settings.resume == "never" and self.world.writes:
            self._replaced.put_aside()
        make_directory(self.folder, parents=True)
        journal: Journal = {}
        if self._found is not None:
            checkpoint, record = self._found
            state.restore(checkpoint)
            self._saved, self._unsaved, journal = state.iteration, False, record.live
        if self.world.size > 1:
            self._agree(state)
        self._live.rewind(journal)
        self._start = state.fork(), journal
        self.listener.patient = True
        self.meter.begin(total, state.iteration)
        if self._found is not None:
            where = f"{self.meter.unit} {state.iteration} of {total} (checkpoint {self._found[0]})"
            print(f"note: continuing from {where}", file=sys.stderr)
        signals.check()

    def log(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to a JSONL file of the run folder, for the artifact, and show it to the tracker."""
        self._live.append(name, row)
        self.track(row, Path(name).stem)

    def file(self, name: str) -> Path:
        """Give where to write a file of the run folder, once; it will be part of the artifact."""
        return self._live.file(name)

    def reached(self, state: TrainState) -> None:
        """Note that an iteration is whole: an interrupted run goes on here. Write a checkpoint if it is due."""
        self._start, self._unsaved = (state.fork(), self._live.journal()), True
        if state.iteration % self.settings.checkpoint_every == 0:
            self._require_equal(state)
            self.save()

    def save(self) -> None:
        """Write a checkpoint of the last whole iteration, unless there is one.

        Raises:
            PreflightError: the disk is full; the checkpoints before are as they were.
        """
        if not self.world.writes or self._start is None or not self._unsaved:
            return
        state, journal = self._start
        folder = self.folder / CHECKPOINTS
        with disk_errors(folder):
            self._live.sync()
        checkpoints.write(folder, state, self.identity, self.made_by, journal)
        self._saved, self._unsaved = state.iteration, False
        checkpoints.rotate(folder, self.settings.keep_checkpoints)
        if state.iteration:
            self._replaced.give_up()

    def hand_over(self, draft: Draft, name: str, *, role: str, volatile: bool = False) -> None:
        """Put a file of the run folder into the artifact; the run keeps its own until that is published."""
        target = draft.file(name, role=role, volatile=volatile)
        if self.world.writes:  # the others have not the files of before a resumption, and publish nothing
            shutil.copyfile(self.folder / name, target)

    def published(self) -> None:
        """Remove what was kept for a run whose artifact is there now."""
        self._replaced.give_up()
        if self.folder.exists():
            checkpoints.remove(self.folder)

    def leave(self, error: Exception) -> None:
        """Save what can be saved when an error ends the run, and say where it is.

        A run that replaces an older one has to have reached a checkpoint by then: otherwise the older one is back.

        Raises:
            InterruptedRun: that was the error; the message says how to continue.
            PreflightError: an interrupted run could not be saved.
        """
        if not self.world.writes:
            return
        back = self._replaced.settle()
        if self._start is None or (back and not isinstance(error, InterruptedRun)):
            return
        if isinstance(error, InterruptedRun):
            if not back:
                self.save()
            raise self._stopped(error.signum, self._start[0].iteration, back) from error
        if isinstance(error, PreflightError) and self._saved is None:
            shutil.rmtree(self.folder)  # there was no room to begin
            return
        if not isinstance(error, PreflightError):
            with suppress(PreflightError):
                self.save()
        if self._saved is not None:
            print(f"note: the unfinished run ({self._saved} iterations) is kept in {self.folder}", file=sys.stderr)

    def _stopped(self, signum: int, done: int, back: bool) -> InterruptedRun:
        """Say what was saved, and how it goes on; or that an older run is back in its place."""
        what = f"stopped after {done} of {self.meter.total} {self.meter.unit}s"
        if back:
            return InterruptedRun(
                f"{what}, before the first checkpoint: none is kept, and the older run is back in {self.folder}",
                signum=signum,
                do="Run the same command again to start over; --resume auto continues the older run, as it was set",
            )
        more = () if self.settings.resume == "auto" else ("--resume", "auto")
        again = " ".join(["with", *more]) if more else "again"
        return InterruptedRun(
            f"{what}, saved in {self.folder}",
            signum=signum,
            do=f"Run the same command {again} to continue",
            again=more if self.world.size == 1 else None,
        )

    def _agree(self, state: TrainState) -> None:
        """Let every process begin with the first one's state, whatever their disks hold."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            if self.world.writes:
                state.save(folder)
            names = json.dumps(sorted(file.name for file in folder.iterdir())).encode()
            for file in json.loads(self.world.first("state", names)):
                path = folder / file
                path.write_bytes(self.world.first(file, path.read_bytes() if self.world.writes else b""))
            state.restore(folder)

    def _require_equal(self, state: TrainState) -> None:
        """Raise DivergedError where processes that take the same steps no longer have the same parameters."""
        digests = self.world.gather("parameters", fingerprint(state.params) if self.world.size > 1 else "")
        if len(set(digests)) > 1:
            raise DivergedError(
                f"the processes' parameters differ after {state.iteration} iterations",
                expected=f"those of process 1, {digests[0]}",
                got=", ".join(digests[1:]),
                do="Use machines of one kind, and the same versions; the newest checkpoint stands",
            )

    def _adopt(self, path: Path) -> None:
        """Make the run at a path, a run folder or one of its checkpoints, the one that goes on."""
        chosen = path.resolve() if (path / RECORD).is_file() else None
        source = chosen.parent.parent if chosen else path
        there = checkpoints.numbered(source / CHECKPOINTS)
        if not there or (chosen and chosen.name not in [checkpoint.name for checkpoint in there]):
            raise MissingError(
                f"no unfinished run at {path}",
                expected=f"a run folder with {CHECKPOINTS}/, or one of its checkpoints with the folder around it",
            )
        mine = source.resolve() == self.folder.resolve()
        if not mine and checkpoints.numbered(self.folder / CHECKPOINTS):
            raise PreflightError(
                f"there is an unfinished run in {self.folder} already",
                do=f"Continue it with --resume auto, or move it away to continue {path}",
            )
        record = checkpoints.verify(chosen, source) if chosen else _the_newest(source)
        self._require_same(record, source)
        if not mine:
            self._copy(source)
        for newer in checkpoints.numbered(self.folder / CHECKPOINTS):
            if chosen and int(newer.name) > record.iteration:
                checkpoints.set_aside(newer, f"the run goes on from {chosen.name}")

    def _copy(self, source: Path) -> None:
        temp = temp_path(self.folder)
        with disk_errors(self.folder):
            try:
                shutil.copytree(source, temp)
                sync_tree(temp)
                shutil.rmtree(self.folder, ignore_errors=True)  # a log without a checkpoint
                put_in_place(temp, self.folder)
            finally:
                shutil.rmtree(temp, ignore_errors=True)

    def _require_same(self, record: Record, where: Path) -> None:
        if differing := differences(record.identity, self.identity):
            raise ConfigError(
                f"an unfinished run of other settings or inputs is in {where}",
                expected=", ".join(f"{name} {saved}" for name, saved, _ in differing),
                got=", ".join(f"{name} {now}" for name, _, now in differing),
                do="Give the same to continue it, or --resume never to start over",
            )

    def _join(self, before: list[dict[str, Any]]) -> None:
        """Take one's place after those who made the run so far, and say if one is another program."""
        (now,) = self.made_by
        if changed := differences({"": before[-1]}, {"": now}):
            text = ", ".join(f"{name} {old} → {new}" for name, old, new in changed)
            print(f"note: the run is continued by another program ({text}): last bits may differ", file=sys.stderr)
        self.made_by = before if now in before[-1:] else [*before, now]


def _the_newest(folder: Path) -> Record:
    found = checkpoints.newest(folder)
    assert found is not None  # there are some, and one that verifies or an error
    return found[1]
