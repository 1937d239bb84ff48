"""Splitting a resolved config into what determines the content and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from align_contracts.canonical import to_json


def split_config(config: BaseModel | Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a config into its deterministic and its runtime part, both plain JSON.

    A field is runtime when it is marked so (`json_schema_extra={"runtime": True}`) or when its value is a path:
    what a path leads to is recorded by digest as an input, and where it lies must not change the identity of
    a result.

    Args:
        config: the resolved config of a stage, nested models included.

    Returns:
        (deterministic, runtime).

    Raises:
        ConfigError: for values that JSON cannot hold exactly.
    """
    items: list[tuple[str, Any, FieldInfo | None]]
    if isinstance(config, BaseModel):
        fields = type(config).model_fields
        items = [(name, getattr(config, name), field) for name, field in fields.items()]
    else:
        items = [(str(name), value, None) for name, value in config.items()]
    deterministic: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    for name, value, field in items:
        if (field is not None and _marked(field)) or _is_path(value):
            runtime[name] = to_json(value, name)
        elif isinstance(value, (BaseModel, Mapping)):
            deterministic[name], inner = split_config(value)
            if inner:
                runtime[name] = inner
        else:
            deterministic[name] = to_json(value, name)
    return deterministic, runtime


def _marked(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("runtime"))


def _is_path(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, PurePath) for item in value)
    return isinstance(value, PurePath)
