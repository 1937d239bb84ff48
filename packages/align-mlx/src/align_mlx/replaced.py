"""The unfinished run that another one replaces: it is put aside, and given up only for work that is saved.

``--resume never`` puts ``runs/.sft.run`` aside as ``runs/.sft.run.before``. The run begun in its place may be unable to
run, diverge at its first step or be stopped in its first minute. However it ends, if no iteration of it is in a
checkpoint then, it is removed and the older run gets its place back. A checkpoint of iteration 0 holds no such work.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from align_contracts.durable import clean_stale, sync
from align_mlx import checkpoints, diagnosis
from align_mlx.checkpoints import CHECKPOINTS


@dataclass(frozen=True)
class Replaced:
    """The run before the one in a folder.

    Attributes:
        folder: of the run that replaces it; was its own.
    """

    folder: Path

    @property
    def aside(self) -> Path:
        """Where it stays meanwhile."""
        return self.folder.with_name(f"{self.folder.name}.before")

    def put_aside(self) -> None:
        """Make room to start over."""
        if checkpoints.numbered(self.folder / CHECKPOINTS):
            until = "is put aside until this one has a checkpoint"
            print(f"note: starting over; the unfinished run in {self.folder} {until}", file=sys.stderr)
            self.folder.rename(self.aside)
        elif self.folder.exists():
            checkpoints.remove(self.folder)  # a log without a checkpoint

    def settle(self) -> bool:
        """Finish what a run that has ended left open: give the older run up, or put it back, and say so.

        Returns:
            Whether it is back, in the place of the run that has ended.
        """
        clean_stale(self.aside)
        if not self.aside.exists():
            return False
        if any(int(checkpoint.name) for checkpoint in checkpoints.numbered(self.folder / CHECKPOINTS)):
            self.give_up()
            return False
        if (why := self.folder / diagnosis.FILE).is_file():
            why.replace(self.aside / diagnosis.FILE)  # the error that ended the run names this path
        shutil.rmtree(self.folder, ignore_errors=True)
        self.aside.rename(self.folder)
        sync(self.folder.parent)
        ended = "the one begun in its place ended before its first checkpoint and is removed"
        print(f"note: the unfinished run from before is back in {self.folder}; {ended}", file=sys.stderr)
        return True

    def give_up(self) -> None:
        """Remove it, if there is one."""
        if self.aside.exists():
            checkpoints.remove(self.aside)
