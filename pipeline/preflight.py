"""What would only go wrong hours later, found before the first step: the steps' settings against each other, sources
that are not there, a judge without its key, targets that somebody else is making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align_contracts import ConfigError, open_artifact
from align_contracts.durable import locked
from align_mlx import BLAS, blas
from pipeline.plan import Planned, recorded


def preflight(steps: Sequence[Planned], there: Sequence[bool], environment: Mapping[str, str]) -> None:
    """Check everything that can be known before anything runs.

    Args:
        steps: the whole chain.
        there: for each step whether its artifact is there; what is there needs no source and no key.
        environment: the environment variables.

    Raises:
        ConfigError: settings contradict each other, the judge has no key, or ALIGN_BLAS names what cannot be loaded.
        MissingError: a local source is not there.
    """
    blas.require(BLAS)
    agree(steps)
    waiting = [one for one, made in zip(steps, there, strict=True) if not made]
    for one in waiting:
        if (require_source := getattr(one.config, "require_source", None)) is not None:
            require_source()
    require_judge(waiting, environment)


def require_free(steps: Sequence[Planned], there: Sequence[bool]) -> None:
    """Raise LockedError where another process is making one of the artifacts."""
    for one, made in zip(steps, there, strict=True):
        if not made:
            with locked(one.target):
                pass


def require_continuable(steps: Sequence[Planned], there: Sequence[bool]) -> None:
    """Refuse an unfinished run that its step would refuse hours later. Inputs that are not there are not compared.

    Raises:
        ConfigError: it was begun with other settings or from other inputs.
        VerificationError: none of its checkpoints is whole.
    """
    for one, made in zip(steps, there, strict=True):
        folder = one.target.with_name(f".{one.step.name}.run")
        if not made and getattr(one.config, "resume", "") == "auto" and folder.exists():
            _continue(one, folder)


def _continue(one: Planned, folder: Path) -> None:
    from align_mlx import checkpoints, identity

    if (found := checkpoints.newest(folder)) is None:
        return
    begun = found[1].identity
    config: Any = recorded(one.config)
    differing = identity.differences(begun["settings"], identity.decisive(config))
    for name in sorted(one.step.needs):
        if (one.out / name).exists():
            digest = open_artifact(one.out / name).content_digest
            if digest not in begun["inputs"].values():
                differing.append((name, "another", digest))
    if differing:
        raise ConfigError(
            f"the unfinished run of {one.step.name} was begun with other settings or inputs",
            expected=", ".join(f"{name} {before}" for name, before, _ in differing),
            got=", ".join(f"{name} {now}" for name, _, now in differing),
            do=f"Give the same to continue it, remove {folder} to start over, or choose another --out",
        )


def agree(steps: Sequence[Planned]) -> None:
    """Raise ConfigError where a step asks for more than an earlier one makes.

    Each stage refuses the same when its turn comes; here it costs nothing yet.
    """
    configs: dict[str, Any] = {one.step.name: one.config for one in steps}
    made = configs["data"]
    for one in steps:
        asked, split = getattr(one.config, "eval_prompts", None), getattr(one.config, "split", "validation")
        if asked is not None and asked > getattr(made, split):
            _too_few(f"{one.step.name} is evaluated on more prompts than there are", "eval_prompts", asked, made, split)
    needed = {"validation", "calibration", "test"} | ({"gold"} if "rm-gold" in configs else set())
    for split in sorted(needed):
        if not getattr(made, split):
            raise ConfigError(f"data.{split} is 0, and the chain uses that split", do=f"Give it --set data.{split}=N")


def require_judge(steps: Sequence[Planned], environment: Mapping[str, str]) -> None:
    """Refuse to begin without the key of the judge that stands at the end: the runs before it take days.

    Raises:
        ConfigError: a step asks OpenAI's own endpoint and there is no key.
    """
    asks = any(
        str(getattr(one.config, "judge", "")).startswith("openai:")
        and "api.openai.com" in str(getattr(one.config, "base_url", ""))
        for one in steps
    )
    if asks and not environment.get("OPENAI_API_KEY"):
        raise ConfigError(
            "the judge needs a key",
            expected="OPENAI_API_KEY in the environment",
            got="none",
            do="Set it, or choose another judge, for example --set judge.judge=reward-model",
        )


def _too_few(what: str, name: str, asked: int, made: Any, split: str) -> None:
    raise ConfigError(
        what,
        expected=f"{name} ≤ {getattr(made, split)} (data.{split})",
        got=asked,
        do=f"Lower {name}, or raise data.{split}",
    )
