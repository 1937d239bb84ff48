"""What an unfinished run is: the settings that decide its result, compared by name, and the program that made it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from align_contracts import provenance
from align_contracts.console import deterministic
from align_contracts.errors import ConfigError
from align_mlx.adapters import Params
from align_mlx.compute import DTYPES, choose
from align_mlx.settings import ComputeSettings
from align_mlx.world import World


def decisive(config: BaseModel) -> dict[str, Any]:
    """Give the settings that decide a run's result on this machine.

    What the machine chooses is written out: a run that began in bfloat16 on a GPU goes on elsewhere only where that is
    asked for by name.
    """
    settings: dict[str, Any] = json.loads(json.dumps(deterministic(config)))
    if not isinstance(config, ComputeSettings):
        return settings
    compute = choose(config.compute_form, config.compute_dtype)
    dtype = next(name for name, value in DTYPES.items() if value == compute.dtype)
    chosen = {"compute_form": "dense" if compute.dense else "quantized", "compute_dtype": dtype}
    return {**settings, **chosen}


def program(producer: str) -> dict[str, Any]:
    """Describe the program as far as it may decide the last bits."""
    made, machine = provenance.producer(producer), provenance.environment()
    known = ("version", "git_commit", "lock_digest")
    return {**{name: made[name] for name in known}, "determinism_class": machine["determinism_class"]}


def differences(saved: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Name what differs between two identities, with both values; nested settings by their path."""
    one, two = _flat(saved), _flat(now)
    names = [name for name in {**one, **two} if one.get(name, "absent") != two.get(name, "absent")]
    return [(name, str(one.get(name, "absent")), str(two.get(name, "absent"))) for name in sorted(names)]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        path = f"{prefix} {name}".strip()
        flat |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return flat


def require_one_run(identity: dict[str, dict[str, Any]], world: World) -> None:
    """Raise ConfigError where the processes would not make the same artifact."""
    first, *others = world.gather("settings and inputs", identity)
    for rank, other in enumerate(others, start=2):
        if differing := differences(first, other):
            raise ConfigError(
                f"process {rank} of {world.size} was given other settings or inputs than the first",
                expected=", ".join(f"{name} {its}" for name, its, _ in differing),
                got=", ".join(f"{name} {its}" for name, _, its in differing),
                do="Start all with the same command, and copy the inputs to every machine",
            )


def fingerprint(params: Params) -> str:
    """Give a sum of all bits of some arrays, of which no two runs that differ have the same by chance."""
    found = hashlib.sha256()
    for name in sorted(params):
        found.update(np.array(params[name]).tobytes())
    return found.hexdigest()[:16]
