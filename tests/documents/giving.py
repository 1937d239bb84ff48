"""Gives the examples of a page, each kind in its way, and none of the same settings twice."""

from __future__ import annotations

from documents import ways
from documents.pages import Example
from documents.world import World


def give(world: World, found: list[Example], done: set[str]) -> None:
    """Give examples in their order.

    Args:
        world: where.
        found: the examples of a page.
        done: identities of what was given already, wherever; grows.
    """
    for example in found:
        way = ways.way(example)
        if way == "shell":
            world.shell(example)
        elif way == "run" and (identity := world.identity(example)) not in done:
            world.run(example)
            done.add(identity)
