from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from align_contracts import ConfigError
from align_contracts.settings import split_config


class Optimizer(BaseModel):
    rate: float = 0.1
    threads: int = Field(2, json_schema_extra={"runtime": True})


class Config(BaseModel):
    seed: int = 42
    out: Path = Path("runs/x")
    judgments: tuple[Path, ...] = (Path("a"), Path("b"))
    progress: bool = Field(True, json_schema_extra={"runtime": True})
    optimizer: Optimizer = Optimizer()
    names: tuple[str, ...] = ()


def test_marked_fields_and_paths_are_runtime():
    deterministic, runtime = split_config(Config())
    assert deterministic == {"seed": 42, "optimizer": {"rate": 0.1}, "names": []}
    assert runtime == {
        "out": "runs/x",
        "judgments": ["a", "b"],
        "progress": True,
        "optimizer": {"threads": 2},
    }


def test_mappings():
    assert split_config({"a": {"b": (1, 2), "path": Path("x")}, "c": None}) == (
        {"a": {"b": [1, 2]}, "c": None},
        {"a": {"path": "x"}},
    )


def test_a_nested_part_without_runtime_settings_leaves_no_empty_one():
    assert split_config({"a": {"b": 1}}) == ({"a": {"b": 1}}, {})


def test_what_json_cannot_hold_is_named():
    with pytest.raises(ConfigError, match="rate: expected a finite number, got nan"):
        split_config({"optimizer": {"rate": float("nan")}})
