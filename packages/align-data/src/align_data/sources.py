"""Where preference rows come from: the embedded world, the hub, or a local directory of the same layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from align_contracts.errors import ConfigError
from align_contracts.hub_names import HUB
from align_data.source import EMBEDDED, Part, Source


def open_source(
    source: str, *, train_split: str, test_split: str, seed: int = 42, embedded_prompts: int = 0, progress: bool = True
) -> Source:
    """Open a source and check its columns.

    Args:
        source: `embedded`, `hf:NAME`, `hf:NAME@REVISION`, or a directory.
        train_split: name of the training split (hub and directories).
        test_split: name of the held-out split; it may be absent.
        seed: what the embedded world is made from.
        embedded_prompts: how many prompts the embedded world makes.
        progress: whether a download shows bars.

    Returns:
        The source. Rows are read later, by its parts.

    Raises:
        ConfigError: the source is not well named, or has no such split.
        MissingError: the directory or the hub dataset does not exist.
        PreflightError: the hub cannot be reached.
        VerificationError: columns are missing, or a file cannot be read.
    """
    if source == EMBEDDED:
        return embedded_source(seed, embedded_prompts)
    if source.startswith(HUB):
        from align_data.hub import open_hub

        name, _, revision = source.removeprefix(HUB).partition("@")
        if not name:
            raise ConfigError("source names no dataset", expected="hf:NAME or hf:NAME@REVISION", got=source)
        return open_hub(name, revision or None, train_split=train_split, test_split=test_split, progress=progress)
    from align_data.directory import open_directory

    return open_directory(Path(source), train_split=train_split, test_split=test_split)


def embedded_source(seed: int, prompts: int) -> Source:
    """Make the embedded world: prompts, answers of several qualities, checks and a corpus.

    Args:
        seed: decides everything.
        prompts: how many prompts.

    Returns:
        A source of one part, which needs no network and no file.
    """
    from align_data import embedded

    def read() -> Iterator[Mapping[str, Any]]:
        yield from embedded.rows(seed, prompts)

    return Source(
        name=EMBEDDED,
        revision=None,
        license="MIT",
        parts=(Part("train", prompts, read),),
        corpus=lambda exclude: embedded.corpus(seed, exclude),
    )
