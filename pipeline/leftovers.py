"""What a killed step can leave beside an artifact that it had already published."""

from __future__ import annotations

import shutil
from pathlib import Path

from align_contracts.durable import clean_stale, locked


def clear(target: Path) -> None:
    """Remove lock file, temporary directories and saved training states beside a finished artifact.

    A step that is killed between publishing and tidying up leaves them, and it is not run again.

    Raises:
        LockedError: another process is publishing there.
    """
    run = target.parent / f".{target.name}.run"
    with locked(run), locked(target):
        clean_stale(run)
        clean_stale(target)
        shutil.rmtree(run, ignore_errors=True)
