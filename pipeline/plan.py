"""What every step is called with, checked before the first one runs, and whether its artifact is already there."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from align_contracts import AlignError, ConfigError, VerificationError, console, open_artifact
from align_contracts.console.suggest import did_you_mean
from pipeline.chain import JUDGE_RM, PipelineConfig, Step, chain

_OWN = (console.Command("pipeline", "The chain.", PipelineConfig, "", ("pipeline",)),)


@dataclass(frozen=True)
class Planned:
    """A step with everything it takes to run it.

    Attributes:
        step: The step.
        out: The directory of all artifacts.
        argv: The arguments of its console script.
        config: The settings that its console script makes of them.
    """

    step: Step
    out: Path
    argv: tuple[str, ...]
    config: BaseModel

    @property
    def target(self) -> Path:
        """Where its artifact is published."""
        return self.out / self.step.name


def plan(
    recipe: Path, out: Path, sets: Sequence[str], flags: Sequence[str] = ()
) -> tuple[PipelineConfig, list[Planned]]:
    """Resolve the settings of the whole chain, so that a typo stops it before anything runs.

    Args:
        recipe: The TOML recipe.
        out: The directory of all artifacts.
        sets: Overrides, ``section.key=value``.
        flags: The pipeline's own settings as flags, which override both, ``--seeds=42,123``.

    Raises:
        ConfigError: A setting is unknown or wrong.
        MissingError: The recipe is not there.
    """
    for text in sets:
        _check_section(text)
    own = ("pipeline", "--config", str(recipe), *_sets(sets, ("pipeline",)), *flags)
    settings = console.resolve("nox -s", _OWN, own)[1]
    assert isinstance(settings, PipelineConfig)
    base = Step("base", "align-sft", "base", {"--data": ("data",)})
    embedded = bool(getattr(_planned(base, recipe, out, sets).config, "embedded", False))
    judge = Step("judgments", "align-eval", "judge", {"--candidate": ("x",), "--baseline": ("x",), JUDGE_RM: ("rm",)})
    judging = _planned(judge, recipe, out, sets).config
    own_rm = getattr(judging, "judge", "") == "reward-model" and getattr(judging, "reward_model", None) == out / "rm"
    return settings, [_planned(step, recipe, out, sets) for step in chain(settings, embedded, own_rm)]


def finished(planned: Planned) -> bool:
    """Say whether a step's artifact is there, made with these settings from these inputs.

    Inputs that are not there (yet) are not compared.

    Raises:
        ConfigError: It was made with other settings or from other inputs.
        VerificationError: It is damaged.
    """
    if not planned.target.exists():
        return False
    again = f"Delete {planned.target} and what was made from it, or choose another --out"
    try:
        manifest = open_artifact(planned.target).manifest
    except AlignError as error:
        raise VerificationError(f"{planned.target} cannot be used: {error}", do=again) from None
    wanted, made = console.deterministic(recorded(planned.config)), manifest.config
    for key in sorted({*wanted, *made} - console.left_open(planned.config)):
        if wanted.get(key) != made.get(key):
            raise ConfigError(
                f"{planned.target} was made with another {key}", expected=wanted.get(key), got=made.get(key), do=again
            )
    digests = {record.content_digest for record in manifest.inputs}
    for name in sorted(planned.step.needs):
        if (planned.out / name).exists() and open_artifact(planned.out / name).content_digest not in digests:
            raise ConfigError(f"{planned.target} was made from another {name}", do=again)
    return True


def recorded(config: BaseModel) -> BaseModel:
    """Give a step's settings as its artifact records them: some name where a path leads instead of the path."""
    identity = getattr(config, "identity", None)
    return identity() if callable(identity) else config


def _planned(step: Step, recipe: Path, out: Path, sets: Sequence[str]) -> Planned:
    commands: Sequence[console.Command] = importlib.import_module(f"{step.script.replace('-', '_')}.cli").COMMANDS
    sections = next(one.sections for one in commands if one.name == step.command)
    paths = [part for flag, names in step.inputs.items() for part in (flag, *(str(out / name) for name in names))]
    argv = (step.command, "--config", str(recipe), *_sets(sets, sections), *paths, *step.extra)
    argv = (*argv, "--out", str(out / step.name))
    return Planned(step, out, argv, console.resolve(step.script, commands, argv)[1])


def _sets(sets: Sequence[str], sections: Sequence[str]) -> list[str]:
    """Return the ``--set`` arguments meant for one of these sections."""
    return [part for text in sets if text.split(".", 1)[0] in sections for part in ("--set", text)]


def _check_section(text: str) -> None:
    section, dot, _ = text.partition("=")[0].partition(".")
    if not dot:
        raise ConfigError(f"--set {text}", expected="section.key=value, for example rl.num_iterations=20")
    if section not in console.SECTIONS:
        sections = f"Sections: {', '.join(console.SECTIONS)}"
        raise ConfigError(f"--set {text}: unknown section", do=did_you_mean(section, console.SECTIONS, sections))
