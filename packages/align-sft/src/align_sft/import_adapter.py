"""`align-sft import`: a LoRA adapter that mlx-lm or PEFT has saved, as a policy on one of our bases."""

from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts import Artifact, open_artifact, publish
from align_contracts.canonical import strict_loads
from align_contracts.content import check_finite, sha256_file
from align_contracts.errors import MissingError, VerificationError
from align_contracts.leaving import read_record
from align_contracts.safetensors_header import read_header
from align_mlx import adapters as lora
from align_mlx.adapters import Params
from align_mlx.loading import base_maps
from align_sft.adapter_layouts import from_mlx_lm, from_peft, regular, require_fit
from align_sft.config import ImportConfig
from align_sft.export import FILES

JsonDict = dict[str, Any]
MAX_CONFIG_BYTES = 2**20


def run(config: ImportConfig) -> int:
    """Check the adapter against the base and publish it as a residual policy."""
    base = open_artifact(config.base, kind="base_model")
    what = str(config.adapter)
    layout, settings, tensors, sha256 = read(config.adapter)
    record = read_record(config.adapter)
    claimed = settings.get("base_model_name_or_path" if layout == "peft" else "model")
    if not config.force:
        require_same_base(base, claimed, record, what)
    maps = base_maps(base.path)
    adapter = from_mlx_lm(settings, tensors, what) if layout == "mlx-lm" else from_peft(settings, tensors, maps, what)
    require_fit(adapter, maps, what)
    adapter, spec = regular(adapter, maps)
    with publish(
        config.out, "policy", producer="align-sft", config=config, inputs={"base": base}, overwrite=config.overwrite
    ) as draft:
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        entry = {"name": "imported", "file": "adapter.safetensors", "rank": spec.rank, "alpha": spec.alpha}
        draft.details = {
            "method": "sft",
            "form": "residual",
            "format": config.format,
            "adapters": [{**entry, "layers": spec.layers, "targets": spec.targets}],
        }
        draft.summary = f"rank {spec.rank}, scale {adapter.scale:g}, {len(adapter.params) // 2} maps"
        draft.tokenizer_digest = base.manifest.tokenizer_digest
        draft.chat_template_digest = base.manifest.chat_template_digest
        draft.quantization = base.manifest.quantization
        draft.extensions["imported"] = {
            "layout": layout,
            "sha256": sha256,
            "base_claimed": claimed if isinstance(claimed, str) else None,
            "exported_from": record and record.get("source"),
        }
    return 0


def read(directory: Path) -> tuple[str, JsonDict, Params, str]:
    """Give the layout, the config, the tensors and the tensors' sha256 of an adapter's directory.

    Raises:
        MissingError: no such directory, or not the two files of either layout in it.
        VerificationError: a file is damaged, or a number is not finite.
    """
    layout = next((name for name, file in FILES.items() if (directory / file).is_file()), None)
    if layout is None or not (directory / "adapter_config.json").is_file():
        raise MissingError(
            f"{directory} holds no adapter",
            expected=f"adapter_config.json and {' or '.join(FILES.values())}",
            do="A .bin file is a pickle, which is never read: save the adapter as safetensors",
        )
    text = directory / "adapter_config.json"
    if text.stat().st_size > MAX_CONFIG_BYTES:
        raise VerificationError(f"{text}: too large", expected=f"at most {MAX_CONFIG_BYTES} bytes")
    settings = strict_loads(text.read_bytes(), str(text))
    if not isinstance(settings, dict):
        raise VerificationError(f"{text}", expected="a JSON object", got=type(settings).__name__)
    path = directory / FILES[layout]
    with open(path, "rb") as file:
        check_finite(file, read_header(file, path.stat().st_size, str(path)), str(path))
        file.seek(0)
        sha256 = sha256_file(file)
    loaded = mx.load(str(path))
    assert isinstance(loaded, dict)
    return layout, settings, loaded, sha256


def require_same_base(base: Artifact, claimed: Any, record: JsonDict | None, what: str) -> None:
    """Raise VerificationError where an adapter says that it belongs to another base.

    An adapter of our own names its base by digest. Others name a model of the hub, which is compared where ours comes
    from the hub too; a path, or an artifact's name, says nothing.
    """
    do = "Give that base, or --force if it is the same model all the same (dequantized, say)"
    if record is not None:
        was = record.get("base", {})
        if was.get("content_digest") != base.content_digest:
            raise VerificationError(
                f"{what} was exported from another base",
                expected=f"base {was.get('name')} ({str(was.get('content_digest'))[:12]})",
                got=f"{base.name} ({base.content_digest[:12]})",
                do=do,
            )
        return
    source = str(base.details.source)
    ours = source.removeprefix("hf:")
    if source.startswith("hf:") and isinstance(claimed, str) and _hub_name(claimed) and claimed != ours:
        raise VerificationError(f"{what} belongs to another base", expected=claimed, got=ours, do=do)


def _hub_name(text: str) -> bool:
    """Whether a text looks like OWNER/NAME and is no directory here."""
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and not Path(text).is_dir()
