from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

import console_example as example
from align_contracts.console import aliases, deterministic, runtime
from align_contracts.console.fields import flags_of

FLAGS = {flag.key: flag for flag in flags_of(example.Train)}


def test_names_keep_the_seed_s_spelling_and_list_aliases():
    assert FLAGS["K"].names == ("--K",)
    assert FLAGS["num_iterations"].names == ("--num-iterations",)
    assert FLAGS["sft"].names == ("--sft", "--actor-model")
    assert FLAGS["lora.rank"].names == ("--lora.rank",)
    assert flags_of(example.Compare)[0].names == ("JUDGMENTS",)


def test_kinds_choices_and_metavars():
    assert [FLAGS[key].kind for key in ("K", "whiten", "kl_targets", "weights")] == [
        "value",
        "switch",
        "list",
        "table",
    ]
    assert FLAGS["bits"].choices == (0, 4, 8)
    assert FLAGS["bits"].metavar == "0|4|8"
    assert [FLAGS[key].metavar for key in ("K", "learning_rate", "sft", "label", "max_norm", "kl_targets")] == [
        "N",
        "X",
        "PATH",
        "TEXT",
        "X",
        "X",
    ]


def test_a_nested_default_shows_its_own_values():
    assert FLAGS["lora.rank"].default == 8  # the outer field's default is Lora(rank=8), not the class's 16
    assert not FLAGS["lora.rank"].required


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("max_norm", "none", None),
        ("max_norm", "0.1", "0.1"),  # pydantic converts
        ("label", "none", "none"),  # not optional: a word like any other
        ("bits", "8", 8),
        ("kl_targets", "0.1, 0.2,", ["0.1", "0.2"]),
        ("kl_targets", [0.1], [0.1]),
        ("K", 3, 3),
    ],
)
def test_value(key, given, expected):
    assert FLAGS[key].value(given) == expected


def test_other_annotations():
    class Colour(Enum):
        RED = "red"

    class Model(BaseModel):
        colour: Colour = Field(Colour.RED, description="c")
        many: Sequence[Literal["a", "b"]] = Field((), description="m")
        either: int | str | None = Field(None, description="e")
        flag: bool | None = Field(None, description="f")
        rows: list[example.Lora] = Field([], description="r")
        dirs: list[Path] = Field(default_factory=lambda: [Path("x")], description="d")

    flags = {flag.key: flag for flag in flags_of(Model)}
    assert flags["colour"].choices == ("red",)
    assert (flags["many"].kind, flags["many"].choices) == ("list", ("a", "b"))
    assert (flags["either"].optional, flags["either"].text) == (True, False)
    assert (flags["flag"].kind, flags["flag"].optional) == ("switch", True)
    assert flags["rows"].kind == "table"
    assert flags["dirs"].default == [Path("x")]
    assert flags["dirs"].text


def test_deterministic_leaves_out_runtime_fields_and_paths():
    class Inner(BaseModel):
        rank: int = 1
        jobs: int = runtime(2, "j")

    class Outer(BaseModel):
        inner: Inner = Inner()
        data: Path = Path("d")
        rate: float = 0.5
        out: str = runtime("o", "o", json_schema_extra=aliases("--output"), min_length=1)

    assert deterministic(Outer()) == {"inner": {"rank": 1}, "rate": 0.5}
    assert flags_of(Outer)[-1].names == ("--out", "--output")  # runtime keeps what was given beside it
