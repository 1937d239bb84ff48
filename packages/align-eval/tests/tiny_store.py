"""The tiny Gemma with policies, reward models and prompts, published by the real store."""

from pathlib import Path

from mlx.utils import tree_flatten

from align_contracts import publish
from align_mlx.loading import load_base
from tiny.models import make_model
from tiny.rows import prompt_row, publish_rows
from tiny.stores import MERGE, publish_base, publish_policy, publish_rm, random_adapter, write_model
from tiny.tokenizer import fill_words, word_tokenizer

DIGEST = "a" * 64


def make_store(root: Path) -> None:
    """Publish base, sft, sft-merged (the same weights in one), rm (on sft), rm-base, rm-foreign, data and empty."""
    model, config = make_model("gemma")
    base = publish_base(root / "base", model, config, word_tokenizer(), tokenizer_digest=DIGEST)
    maps = load_base(base.path).maps
    worn = random_adapter(maps, 1)
    sft = publish_policy(root / "sft", base, worn)
    with publish(root / "sft-merged", "policy", producer="align-sft", config={}, inputs={"policy": sft}) as draft:
        weights = dict(tree_flatten(model.parameters()))
        for name in maps:
            if pair := worn.pair(name):
                weights[f"{name}.weight"] = weights[f"{name}.weight"] + worn.scale * (pair[0] @ pair[1]).T
        model.load_weights(list(weights.items()))
        write_model(draft, model, config, word_tokenizer())
        draft.tokenizer_digest = DIGEST
        draft.details = {"method": "sft", "form": "merged", "format": "chosen", "adapters": [], "merge": MERGE}
    ranker = random_adapter(maps, 2)
    publish_rm(root / "rm", sft, ranker)
    publish_rm(root / "rm-base", sft, ranker, backbone="base")
    publish_rm(root / "rm-foreign", sft, ranker, tokenizer_digest="b" * 64)
    texts = [" ".join(fill_words()[i : i + 1 + i % 5]) for i in range(9)]
    publish_rows(root / "data", {"prompts/test": [prompt_row(f"p{i}", text) for i, text in enumerate(texts)]})
    publish_rows(root / "empty", {"prompts/test": []})
