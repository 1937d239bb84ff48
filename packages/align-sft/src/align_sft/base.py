"""`align-sft base`: a base_model artifact from a model directory, the hub, or the data's own corpus."""

import sys
from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts import Draft, open_artifact, publish
from align_contracts.errors import ConfigError, MissingError
from align_contracts.hub_names import HUB
from align_contracts.leaving import Descent, descent
from align_mlx.compute import bound_cache
from align_mlx.head import find_head
from align_mlx.loading import require_chat_template
from align_mlx.progress import Meter
from align_mlx.training import training
from align_sft.config import BaseConfig, require_source, source_name
from align_sft.model_files import (
    count_parameters,
    quantization_record,
    require_finite_files,
    require_room,
    store_form,
    write_model,
    write_tokenizer,
)
from align_sft.template import DATE, with_one_date

EMBEDDED = "embedded"
"""Source of the small base that is trained here, and of what is made of it."""


def run(config: BaseConfig) -> int:
    """Make the base artifact that the settings ask for."""
    return _embedded(config) if config.embedded else _import(config)


def _embedded(config: BaseConfig) -> int:
    from align_sft import embedded
    from align_sft.pretrain import pretrain
    from align_sft.tokenizer import document_ids, train_tokenizer

    assert config.data is not None
    bound_cache()
    data = open_artifact(config.data, kind="dataset")
    meter = Meter("base", quiet=config.quiet)
    with training(config, "base_model", producer="align-sft", inputs={"dataset": data}, meter=meter) as (draft, run):
        texts = [row["text"] for row in data.read_jsonl("corpus")]
        tokenizer = train_tokenizer(texts, config.vocab_size)
        model_config = embedded.gemma_config(config, tokenizer)
        model = embedded.build(model_config, mx.random.key(config.seed + 1))
        lines = [document_ids(tokenizer, text, config.max_length) for text in texts]
        pretrain(model, lines, config, draft, run)
        run.save()
        draft.seeds = [config.seed]
        given = Descent(EMBEDDED, license=config.license or data.details.license)
        _write(draft, model, model_config, tokenizer, config, given)
    return 0


def _import(config: BaseConfig) -> int:
    assert config.model is not None
    path, source = locate(config.model, config.revision)
    told, imported = descent(path)
    given = Descent(told.source or source, told.revision or commit(path), config.license or told.license)
    if given.license is None:
        print(f"warning: the model card of {source} states no licence; --license names it", file=sys.stderr)
    with publish(
        config.out, "base_model", producer="align-sft", config=config.identity(), overwrite=config.overwrite
    ) as draft:
        from mlx_lm.utils import load_model, load_tokenizer

        if (path / "config.json").exists() is False:
            raise MissingError(f"{path} holds no model", expected="config.json and model*.safetensors")
        model, model_config = load_model(path, lazy=True)
        tokenizer = load_tokenizer(path)
        require_chat_template(tokenizer, path)
        fix_date(tokenizer)
        require_finite_files(path)
        if model_config.get("torch_dtype") == "float16" or model_config.get("dtype") == "float16":
            print("note: float16 weights are stored as bfloat16: Gemma overflows in float16", file=sys.stderr)
        _write(draft, model, model_config, tokenizer, config, given)
        if imported:
            draft.extensions["imported"] = imported
    return 0


def fix_date(tokenizer: Any) -> None:
    """Give a tokenizer whose chat template writes today's date one that always writes the same."""
    template = tokenizer.chat_template
    if isinstance(template, str) and (fixed := with_one_date(template)) != template:
        print(f"note: the chat template writes today's date; the base is stored with {DATE} in it", file=sys.stderr)
        tokenizer.chat_template = fixed


def _write(
    draft: Draft,
    model: Any,
    model_config: dict[str, Any],
    tokenizer: Any,
    config: BaseConfig,
    given: Descent,
) -> None:
    """Bring the model into its storage form and write everything that a base artifact holds."""
    parameters = count_parameters(model)
    model, stored = store_form(model, model_config, config.bits, config.group_size)
    require_room(config.out, model)
    write_model(draft, model, stored)
    write_tokenizer(draft, tokenizer)
    head = find_head(model)
    draft.summary = f"{parameters:,} parameters"
    draft.details = {
        "architecture": stored["model_type"],
        "hidden_size": head.hidden_size,
        "num_layers": len(model.layers),
        "vocab_size": head.vocab_size,
        "parameters": parameters,
        "quantization": quantization_record(stored),
        "source": given.source,
        "embedded": given.source == EMBEDDED,
        "license": given.license,
        "revision": given.revision,
    }


def locate(model: str, revision: str | None) -> tuple[Path, str]:
    """Find a model directory, downloading it from the hub if `model` is no directory.

    Returns:
        The directory, and where it came from: ``local:NAME`` or ``hf:NAME``.

    Raises:
        ConfigError: a revision was given for a directory.
        MissingError: the name is neither a directory nor a model that can be had from the hub.
        PreflightError, VerificationError: as `align_sft.hub.download`.
    """
    path = Path(model)
    if path.is_dir():
        if revision is not None:
            raise ConfigError("--revision is for hub models", got=f"the directory {model}")
        return path, source_name(model)
    require_source(model)
    from align_sft.hub import download

    return download(model.removeprefix(HUB), revision), source_name(model)


def commit(path: Path) -> str | None:
    """Give the commit of a model that the hub's client keeps (``snapshots/COMMIT``); None for other directories."""
    return path.name if path.parent.name == "snapshots" else None
