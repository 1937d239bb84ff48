from pathlib import Path

import pytest

import console_example as example
from align_contracts.console.arguments import split
from align_contracts.console.fields import flags_of
from align_contracts.errors import ConfigError

TRAIN, COMPARE = flags_of(example.Train), flags_of(example.Compare)


def values(*argv: str, flags=TRAIN) -> dict:
    return {flag.key: value for flag, (value, _) in split(argv, flags, "align-x").values.items()}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--K", "3"], {"K": "3"}),
        (["--K=3", "--K", "4"], {"K": "4"}),
        (["--num_iterations=1"], {"num_iterations": "1"}),
        (["--learning-rate", "-1e-3"], {"learning_rate": "-1e-3"}),
        (["--actor-model", "a"], {"sft": "a"}),
        (["--actor_model", "a"], {"sft": "a"}),
        (["--whiten"], {"whiten": True}),
        (["--no-whiten"], {"whiten": False}),
        (["--whiten=false"], {"whiten": "false"}),
        (["--kl-targets", "1,2", "3", "--kl-targets=4"], {"kl_targets": ["1", "2", "3", "4"]}),
        (["--lora.rank", "2"], {"lora.rank": "2"}),
        (["--label", ""], {"label": ""}),
    ],
)
def test_flags(argv, expected):
    assert values(*argv) == expected


def test_positionals_may_stand_before_between_and_after_flags():
    assert values("a", "--out", "o", "b", flags=COMPARE) == {"judgments": ["a", "b"], "out": "o"}
    assert values("--out", "o", "--", "--odd", flags=COMPARE) == {"judgments": ["--odd"], "out": "o"}


def test_common_flags():
    said = split(["--config", "r.toml", "--set", "a=1", "--set=b=2", "--show-config", "-h"], TRAIN, "align-x")
    assert (said.config, said.sets, said.switches) == (Path("r.toml"), ["a=1", "b=2"], {"--show-config", "--help"})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lerning-rate", "1"], "align-x: unknown flag --lerning-rate. Did you mean --learning-rate?"),
        (["--k", "1"], "align-x: unknown flag --k. Did you mean --K?"),
        (["--no-white"], "align-x: unknown flag --no-white. Did you mean --no-whiten?"),
        (["--zzz=1"], "align-x: unknown flag --zzz. 'align-x --help' lists the flags"),
        (["-x"], "align-x: unknown flag -x. 'align-x --help' lists the flags"),
        (["--K"], "--K needs a value: expected N"),
        (["--K", "--whiten"], "--K needs a value: expected N"),
        (["--kl-targets"], "--kl-targets needs a value: expected X …"),
        (["extra"], "align-x: unexpected argument 'extra'. 'align-x --help' lists the flags"),
        (["--weights", "1"], "align-x: unknown flag --weights. 'align-x --help' lists the flags"),
    ],
)
def test_mistakes(argv, message):
    with pytest.raises(ConfigError) as caught:
        split(argv, TRAIN, "align-x")
    assert str(caught.value) == message
