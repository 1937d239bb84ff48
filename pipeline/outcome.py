"""What has come of the steps: made, kept, failed, or not started because of a failure."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_contracts import AlignError
from pipeline.chain import Step

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP)
"""Exit codes of a step that was asked to stop, and can go on."""


class StepError(AlignError):
    """A step ended with an exit code other than 0; the first one's becomes the pipeline's."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what)
        self.exit_code = code


@dataclass(frozen=True)
class Failure:
    """A step that failed.

    Attributes:
        name: The step.
        code: Its process's exit code; −n where signal n ended it.
        log: All it wrote.
    """

    name: str
    code: int
    log: Path

    @property
    def exit_code(self) -> int:
        """As a shell would say it: 128 + n for signal n."""
        return self.code if self.code > 0 else 128 - self.code

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.code in INTERRUPTED:
            return f"was interrupted (exit code {self.code})"
        if self.code > 0:
            return f"failed with exit code {self.code}"
        short = ": was the memory enough?" if -self.code == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-self.code).name}{short}"


@dataclass
class Outcome:
    """The steps by what has come of them.

    Attributes:
        made: Steps that have made their artifact.
        kept: Steps whose artifact was there.
        failed: In the order in which they failed.
        blocked: Steps that were not started, and the failed step that each needs, directly or not.
    """

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)

    @property
    def there(self) -> set[str]:
        """Steps whose artifact is there."""
        return {*self.made, *self.kept}

    def block(self, step: Step) -> bool:
        """Say whether a step can never start, and note because of which failure."""
        lost = {one.name: one.name for one in self.failed} | self.blocked
        cause = next((lost[name] for name in sorted(step.needs) if name in lost), None)
        if cause is not None:
            self.blocked[step.name] = cause
        return cause is not None

    def told(self) -> dict[str, Any]:
        """Return what has come of the steps, for programs."""
        failed = {one.name: {"exit_code": one.exit_code, "log": str(one.log)} for one in self.failed}
        return {"made": self.made, "kept": self.kept, "failed": failed, "not_started": self.blocked}

    def require_all(self) -> None:
        """Raise StepError where a step failed, with the list of everything that was not made."""
        if not self.failed:
            return
        width = max(map(len, [*self.blocked, *(one.name for one in self.failed)]))
        lines = [f"  {one.name:{width}}  {one.how}; all it wrote is in {one.log}" for one in self.failed]
        lines += [f"  {name:{width}}  not started: it needs {cause}" for name, cause in self.blocked.items()]
        count = len(self.failed) + len(self.blocked)
        head = f"{count} of {count + len(self.there)} steps were not made:"
        do = "The same command keeps what is there and tries the others."
        raise StepError("\n".join([head, *lines, do]), self.failed[0].exit_code)
