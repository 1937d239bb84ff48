"""Gives the examples of a page, each kind in its way, and none of the same settings twice."""

from __future__ import annotations

from documents import ways
from documents.pages import Example
from documents.world import World

GIVES = {"run": World.run, "shell": World.shell}


def give(world: World, found: list[Example], done: set[str]) -> None:
    """Give examples in their order.

    Args:
        world: where.
        found: the examples of a page.
        done: identities of what was given already, wherever; grows.
    """
    for example in found:
        way = ways.way(example)
        if way not in GIVES or (identity := world.identity(example)) in done:
            continue
        GIVES[way](world, example)
        done.add(identity)
