"""From the manifests of an older major version to the current one: one pure function a step.

A minor version only adds optional fields, so the models read it as it is. A major version may change anything; what
it changed is written here once, as a function from the manifest of major v to that of v + 1. A migrated artifact
keeps the content digest it was published under, because lineage, caches and ledgers know it by that name; so each
step also says how its major defined that digest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from align_contracts.errors import SchemaVersionError

Json = dict[str, Any]


@dataclass(frozen=True)
class Migration:
    """One step, from a major version to the next.

    Attributes:
        up: the manifest of this major to that of the next, `schema_version` apart; it may change its argument.
        content_digest: the identity of a manifest as this major defined it.
    """

    up: Callable[[Json], Json]
    content_digest: Callable[[Mapping[str, Any]], str]


MIGRATIONS: Mapping[int, Migration] = MappingProxyType({})
"""The step out of each older major. Major 1 is the first, so there is none yet."""


def migrate(raw: Mapping[str, Any], major: int, migrations: Mapping[int, Migration] = MIGRATIONS) -> Json:
    """Bring a manifest to a major version, step by step; a pure function.

    Args:
        raw: the manifest as plain JSON, of `major` or an older one; it is left as it is.
        major: the version wanted.
        migrations: the steps.

    Returns:
        The same artifact's manifest at `major`.0; the very same when it is of that major already.

    Raises:
        SchemaVersionError: when a step on the way is not known.
    """
    found = copy.deepcopy(dict(raw))
    for step in range(found["schema_version"]["major"], major):
        if step not in migrations:
            raise SchemaVersionError(f"no migration from schema major {step}", expected=f"major {major}")
        found = {**migrations[step].up(found), "schema_version": {"major": step + 1, "minor": 0}}
    return found
