import signal

import pytest

from align_contracts import errors
from align_contracts.errors import AlignError, ConfigError, InterruptedRun, PreflightError


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "the size"),
        ({"expected": 3}, "the size: expected 3"),
        ({"expected": 3, "got": 0}, "the size: expected 3, got 0"),
        ({"got": 0, "do": "Measure again"}, "the size: got 0. Measure again"),
        ({"do": "Measure again"}, "the size. Measure again"),
        ({"got": "why?", "do": "Measure again"}, "the size: got why? Measure again"),
    ],
)
def test_a_message_has_the_parts_that_were_given(parts, message):
    assert str(ConfigError("the size", **parts)) == message


def test_a_message_too_long_to_be_read_loses_its_middle():
    message = str(ConfigError("x" * 10_000 + ": too long", expected="y" * 600, got="z" * 500))
    what, expected, got = "x" * 300 + " ... " + "x" * 140 + ": too long", "y" * 300 + " ... " + "y" * 150, "z" * 500
    assert message == f"{what}: expected {expected}, got {got}"
    lines = str(ConfigError("\n".join(["a" * 400] * 3)))  # several lines, none too long
    assert lines == "\n".join(["a" * 400] * 3)


def test_every_class_has_its_exit_code_and_is_a_standard_type():
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__}
    assert codes == {
        "AlignError": 1,
        **dict.fromkeys(("ConfigError", "MissingError"), 2),
        **dict.fromkeys(("KindError", "VerificationError", "SchemaVersionError"), 3),
        **dict.fromkeys(("DivergedError", "NonFiniteError"), 4),
        **dict.fromkeys(("BudgetError", "IncompleteError"), 5),
        **dict.fromkeys(("PreflightError", "LockedError"), 6),
        "InterruptedRun": 130,
    }
    assert isinstance(PreflightError("x"), OSError)
    assert isinstance(ConfigError("x"), ValueError)


def test_an_interrupted_run_knows_its_signal():
    assert InterruptedRun("training").exit_code == 130
    stopped = InterruptedRun("training", signum=signal.SIGTERM, do="Run it again")
    assert (stopped.exit_code, stopped.signum, str(stopped)) == (143, signal.SIGTERM, "training. Run it again")
    assert isinstance(stopped, AlignError)
