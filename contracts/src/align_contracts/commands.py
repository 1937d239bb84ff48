"""What the commands of `align-contracts` do; each takes its config and returns an exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from align_contracts.artifact import Artifact, open_artifact
from align_contracts.console.making import described
from align_contracts.errors import AlignError, ConfigError, VerificationError
from align_contracts.installation import facts, render
from align_contracts.lineage import as_json, draw, find_artifacts, holds, trace
from align_contracts.paths import printable
from align_contracts.recipes import recipes as known_recipes
from align_contracts.recipes import write_recipes
from align_contracts.records import Kind
from align_contracts.reference import reference
from align_contracts.schema import compare_schemas, json_schema, write_schemas
from align_contracts.space import amount

_POSITIONAL: JsonDict = {"positional": True}


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _json_flag(description: str) -> Any:
    return Field(False, description=description, json_schema_extra={"aliases": ["--json"]})


class ValidateConfig(_Config):
    """Settings of `validate`."""

    paths: Annotated[
        tuple[Path, ...],
        Field(min_length=1, description="artifacts, or directories of them", json_schema_extra=_POSITIONAL),
    ]
    deep: bool = Field(False, description="read every file: sha256, strict JSON, safetensors, finite weights")
    as_json: bool = _json_flag("print one JSON object an artifact, a line each")


class InspectConfig(_Config):
    """Settings of `inspect`."""

    path: Path = Field(description="an artifact", json_schema_extra=_POSITIONAL)
    as_json: bool = _json_flag("print the whole manifest as JSON")


class LineageConfig(_Config):
    """Settings of `lineage`."""

    paths: Annotated[
        tuple[Path, ...],
        Field(min_length=1, description="artifacts, or directories of them", json_schema_extra=_POSITIONAL),
    ]
    as_json: bool = _json_flag("print the graph and its problems as JSON")


class EnvConfig(_Config):
    """Settings of `env`."""

    as_json: bool = _json_flag("print JSON")


class RecipesConfig(_Config):
    """Settings of `recipes`."""

    out: Path | None = Field(None, description="write them into this directory")


class SchemaConfig(_Config):
    """Settings of `schema`."""

    kind: Literal["all", *get_args(Kind)] = Field(  # type: ignore[valid-type]
        "all", description="kind to print", json_schema_extra=_POSITIONAL
    )
    out: Path | None = Field(None, description="write the schemas of all kinds below this directory")
    check: Path | None = Field(None, description="compare the schemas below this directory with the models")
    reference: Path | None = Field(
        None, description="write what the manifests hold, as a page of Markdown, to this file"
    )


def validate(config: ValidateConfig) -> int:
    """Verify every artifact at or below the paths; one line each, with ``--json`` for failures too.

    Returns:
        0, or the exit code of the first failure.
    """
    code = 0
    found = list(dict.fromkeys(artifact for path in config.paths for artifact in find_artifacts(path)))
    for path in found:
        try:
            artifact = open_artifact(path, deep=config.deep)
        except AlignError as error:
            if isinstance(error, ConfigError):
                raise
            if config.as_json:
                print(json.dumps({"path": str(path), "ok": False, "deep": config.deep, "error": str(error)}))
            print("error:", "\n".join(map(printable, str(error).split("\n"))), file=sys.stderr)
            code = code or error.exit_code
            continue
        if config.as_json:
            print(json.dumps({**described(artifact, path), "ok": True, "deep": config.deep}))
            continue
        depth = "deep" if config.deep else "quick"
        print(f"ok  {depth}  {artifact.kind:12}  {_size(artifact):>10}  {printable(str(path))}")
    return code


def inspect(config: InspectConfig) -> int:
    """Print one artifact's manifest, for people or as JSON."""
    artifact = open_artifact(config.path)
    if config.as_json:
        print(json.dumps(artifact.raw, indent=2, ensure_ascii=True))
        return 0
    for line in describe(artifact):
        print(printable(line))
    return 0


def describe(artifact: Artifact) -> list[str]:
    """Return an artifact's description as lines of text."""
    manifest = artifact.manifest
    producer, machine = manifest.producer, manifest.environment
    commit = (producer.git_commit or "")[:12] + (" (modified)" if producer.git_dirty else "")
    lines = [
        f"{artifact.name}: {manifest.kind}, {_size(artifact)}, files: {len(manifest.files)}",
        f"  content   {manifest.content_digest}",
        f"  manifest  {artifact.manifest_digest}",
        f"  made      {manifest.created_at} by {producer.package} {producer.version} {commit}".rstrip(),
        f"  on        {machine.chip}, {machine.os}, {machine.device or 'no device'}"
        f"{f', MLX {machine.mlx_version}' if machine.mlx_version else ''}",
    ]
    if manifest.seeds:
        lines.append(f"  seeds     {', '.join(map(str, manifest.seeds))}")
    lines += _section("details", _flat(artifact.raw["details"]))
    several = len({item.role for item in manifest.inputs}) < len(manifest.inputs)
    lines += _section(
        "inputs",
        {
            item.role + (f"[{i}]" if several else ""): f"{item.name} ({item.kind}, {item.content_digest[:12]})"
            + ("" if item.license is None else f", licence {item.license}")
            for i, item in enumerate(manifest.inputs)
        },
    )
    lines += _section(
        "metrics",
        {
            item.name + ("" if item.step is None else f" @{item.step}"): f"{item.value:g}"
            + ("" if item.n is None else f" (n {item.n})")
            for item in manifest.metrics
        },
    )
    tensors: dict[str, int] = {}
    for tensor in manifest.tensors:
        tensors[tensor.file] = tensors.get(tensor.file, 0) + 1
    return lines + _section(
        "files",
        {
            item.path: f"{amount(item.size)}, {item.role}"
            + (f", {tensors[item.path]} tensors" if item.path in tensors else "")
            + (", volatile" if item.volatile else "")
            for item in manifest.files
        },
    )


def lineage(config: LineageConfig) -> int:
    """Draw the graph of the artifacts at or below the paths, then its problems; with ``--json`` both as one object.

    Raises:
        VerificationError: when the graph is not closed, has a cycle or mixes bases or tokenizers.
    """
    graph = trace(found for path in config.paths for found in find_artifacts(path))
    if config.as_json:
        print(json.dumps(as_json(graph), indent=2))
    elif graph.artifacts:
        print(draw(graph))
    if graph.problems:
        raise VerificationError("the lineage does not hold:\n  " + "\n  ".join(graph.problems))
    if not config.as_json:
        print(holds(graph))
    return 0


def env(config: EnvConfig) -> int:
    """Print what is installed and what it runs on."""
    found = facts()
    if config.as_json:
        print(json.dumps(found, indent=2))
        return 0
    for line in render(found):
        print(printable(line))
    return 0


def recipes(config: RecipesConfig) -> int:
    """Name the recipes and what each is for, or write them.

    Raises:
        PreflightError: when a file of a recipe's name is there and holds something else.
    """
    if config.out is not None:
        for path in write_recipes(config.out):
            print(path)
        return 0
    known = known_recipes()
    for name, text in known.items():
        print(f"{name:{max(map(len, known))}}  {text.partition(chr(10))[0].removeprefix('# ')}")
    return 0


def schema(config: SchemaConfig) -> int:
    """Print, write or compare the JSON Schemas, or write them as a page.

    Raises:
        ConfigError: when there is nothing to do, or two things at once.
        VerificationError: when the compared files differ from the models.
    """
    asked = [one for one in (config.check, config.out, config.reference) if one is not None]
    if len(asked) > 1:
        raise ConfigError("align-contracts schema", expected="one of --out, --check and --reference")
    if config.reference is not None:
        config.reference.write_text(reference(), encoding="utf-8")
        print(config.reference)
    elif config.check is not None:
        if problems := compare_schemas(config.check):
            raise VerificationError(
                f"{config.check} is not up to date:\n  " + "\n  ".join(problems),
                do=f"Run align-contracts schema --out {config.check}",
            )
        print(f"{config.check}: up to date")
    elif config.out is not None:
        for path in write_schemas(config.out):
            print(path)
    elif config.kind != "all":
        print(json.dumps(json_schema(config.kind), indent=2, sort_keys=True))
    else:
        raise ConfigError(
            "align-contracts schema", expected="one of a KIND, --out DIR, --check DIR or --reference FILE"
        )
    return 0


def _section(title: str, rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    return [f"{title}:", *(f"  {key:{width}}  {value}" for key, value in rows.items())] if rows else []


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        rows: dict[str, str] = {}
        for key, item in value.items():
            rows.update(_flat(item, f"{prefix}.{key}" if prefix else key))
        return rows
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = {}
        for i, item in enumerate(value):
            rows.update(_flat(item, f"{prefix}[{i}]"))
        return rows
    return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _size(artifact: Artifact) -> str:
    return amount(sum(item.size for item in artifact.manifest.files))
