"""One error tree for every stage: what happened, what was expected, what was got, what to do next.

Each class is also a standard-library type, so code that knows nothing of this package can catch it, and
carries the exit code its console script ends with: 2 usage, 3 verification, 4 diverged, 5 incomplete or over
budget, 6 preflight, 130/143 interrupted and resumable.
"""

from __future__ import annotations

import signal
from pathlib import Path

__all__ = [
    "AlignError",
    "BudgetError",
    "ConfigError",
    "DivergedError",
    "IncompleteError",
    "InterruptedRun",
    "KindError",
    "LockedError",
    "MissingError",
    "NonFiniteError",
    "PreflightError",
    "SchemaVersionError",
    "VerificationError",
]


_LONGEST = 500


def _short(value: object) -> str:
    """Return a value's text, without its middle when it is too long to be read: it may be a hostile file's words."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:300]} ... {text[-150:]}"


def sentences(*parts: str | None) -> str:
    """Join sentences; a part that does not end one yet gets its full stop, and the last stays as it is."""
    said = [part for part in parts if part]
    ended = [part if part.endswith((".", "?", "!", "\n")) else f"{part}." for part in said[:-1]]
    return " ".join([*ended, *said[-1:]])


class AlignError(Exception):
    """An error with a message for a person; the root of the tree.

    Args:
        what: What is wrong, without a full stop.
        expected: What would have been right; left out of the message when None.
        got: What was found instead; left out of the message when None.
        do: What to do next, a short sentence without its full stop.

    Attributes:
        given: The path of the artifact that could not be opened, as the user gave it; a console script then names its
            flag. None in other errors.
    """

    exit_code: int = 1
    given: Path | None = None

    def __init__(self, what: str, *, expected: object = None, got: object = None, do: str | None = None) -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.do = do
        super().__init__(what)

    def __str__(self) -> str:
        """Return ``what: expected …, got …. do`` with the parts that were given."""
        parts = [
            f"{word} {_short(value)}"
            for word, value in (("expected", self.expected), ("got", self.got))
            if value is not None
        ]
        what = "\n".join(map(_short, self.what.split("\n")))
        message = f"{what}: {', '.join(parts)}" if parts else what
        return sentences(message, self.do)


class ConfigError(AlignError, ValueError):
    """A setting is unknown, malformed or contradicts another."""

    exit_code = 2


class MissingError(AlignError, FileNotFoundError):
    """A path the user gave is not there."""

    exit_code = 2


class KindError(AlignError, TypeError):
    """An artifact of the wrong kind was given."""

    exit_code = 3


class VerificationError(AlignError, ValueError):
    """An artifact does not hold what its manifest says, or breaks a rule of the contract."""

    exit_code = 3


class SchemaVersionError(VerificationError):
    """A manifest was written by a schema version that this package cannot read."""


class DivergedError(AlignError, ArithmeticError):
    """Training produced a number that is not finite, or failed a proof that it carries."""

    exit_code = 4


class NonFiniteError(DivergedError):
    """A quantity of training is NaN or infinite, and nothing was updated with it.

    Args:
        quantity: What it is: loss, gradient, reward, KL, a weight.
        got: The value, or which tensors.
        do: What to do next.
    """

    def __init__(self, quantity: str, *, got: object = None, do: str = "Nothing was updated") -> None:
        super().__init__(f"the {quantity} is not finite", got=got, do=do)
        self.quantity = quantity


class IncompleteError(AlignError, RuntimeError):
    """The work could not be finished; what was done is kept."""

    exit_code = 5


class BudgetError(AlignError, RuntimeError):
    """A cost or time limit set by the user was reached."""

    exit_code = 5


class PreflightError(AlignError, OSError):
    """The machine cannot do the work as asked: disk, memory, an existing target."""

    exit_code = 6


class LockedError(PreflightError):
    """Another process holds the lock of this artifact or run."""


class InterruptedRun(AlignError, RuntimeError):  # noqa: N818 - an outcome rather than an error
    """The run was asked to stop and can be resumed.

    Args:
        what: What was interrupted.
        signum: The signal received; the exit code is 128 + signum (130 for SIGINT, 143 for SIGTERM).
        do: How to resume.
        again: Further flags, each followed by its value, with which the command that was given resumes; None where it
            does not, or where another program gave it. A console script prints that command.
    """

    exit_code = 128 + signal.SIGINT

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        do: str | None = None,
        signum: int = signal.SIGINT,
        again: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(what, expected=expected, got=got, do=do)
        self.again = again
        self.signum = signum
        self.exit_code = 128 + signum  # an instance knows its own signal
