"""`align-sft export`: a policy's adapters as one adapter for mlx-lm, or for PEFT and transformers."""

import json
import sys

from align_contracts import Artifact, open_artifact
from align_contracts.errors import KindError
from align_contracts.leaving import leave
from align_contracts.licences import card_lines, terms
from align_mlx import adapters as lora
from align_mlx.loading import base_maps, policy_adapters
from align_mlx.tensors import save_tensors
from align_sft.adapter_layouts import regular, require_fit, to_mlx_lm, to_peft
from align_sft.config import ExportConfig

FILES = {"mlx-lm": "adapters.safetensors", "peft": "adapter_model.safetensors"}
"""The tensors' file of each layout."""

CARD = """\
---
library_name: {library}
base_model: {base}
{licence}---

# {name}

A LoRA adapter of rank {rank} on `{base}`, trained by {method}, exported by align-sft.
{parts}

```python
{use}
```
"""
USE = {
    "mlx-lm": 'model, tokenizer = mlx_lm.load("BASE", adapter_path="THIS DIRECTORY")',
    "peft": """\
model = transformers.AutoModelForCausalLM.from_pretrained("BASE", dtype="float32")
model = peft.PeftModel.from_pretrained(model, "THIS DIRECTORY")""",
}


def run(config: ExportConfig) -> int:
    """Write the adapter; stacked adapters become one, of the sum of their ranks."""
    policy = open_artifact(config.policy, kind="policy")
    if policy.details.form == "merged":
        raise KindError(
            f"{policy.name} is merged: it has no adapter",
            expected="a residual policy",
            do="Give its directory to mlx_lm.load; a merge with --bits 0 loads in transformers too",
        )
    base = policy.input("base")
    maps, adapters = base_maps(base.path), policy_adapters(policy)
    one = adapters[0] if len(adapters) == 1 else lora.stacked(adapters)
    require_fit(one, maps, policy.name)
    one, spec = regular(one, maps)
    layout = to_mlx_lm if config.format == "mlx-lm" else to_peft
    name = base_name(base)
    settings, tensors = layout(one, spec, maps, name)
    facts = {
        "base": {"name": base.name, "content_digest": base.content_digest},
        "method": policy.details.method,
        "format": policy.details.format,
    }
    with leave(
        config.out, producer="align-sft", form=config.format, source=policy, facts=facts, overwrite=config.overwrite
    ) as folder:
        (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        metadata = {"format": "mlx" if config.format == "mlx-lm" else "pt"}
        save_tensors(folder / FILES[config.format], tensors, metadata)
        parts = " + ".join(f"{entry.name} (rank {entry.rank})" for entry in policy.details.adapters)
        card = CARD.format(
            library=config.format.removesuffix("-lm"),
            base=name,
            name=policy.name,
            rank=spec.rank,
            method=policy.details.method,
            licence="".join(f"{line}\n" for line in card_lines(terms(policy))),
            parts=f"It holds {parts}." if len(adapters) > 1 else "",
            use=USE[config.format],
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
    if not config.quiet:
        print(f"{config.out}: rank {spec.rank}, {len(tensors) // 2} maps, for {config.format}", file=sys.stderr)
    return 0


def base_name(base: Artifact) -> str:
    """Give the name by which other programs know a base: the hub's, where it comes from there."""
    source = str(base.details.source)
    return source.removeprefix("hf:") if source.startswith("hf:") else base.name
