"""A random Gemma in the layout of Hugging Face, with a tokenizer and a template: python -m peers.model DIR [SHAPE]"""

import json
import sys
from pathlib import Path
from typing import Any

import align_mlx  # noqa: F401  # isort: skip  (loads the BLAS before mlx.core)
import mlx.core as mx
from mlx.utils import tree_flatten
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from align_sft.embedded import build
from peers.protocol import TEXT
from peers.shapes import SHAPES

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "<start_of_turn> {{ 'model' if m['role'] == 'assistant' else m['role'] }} {{ m['content'] }} <end_of_turn>"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn> model{% endif %}"
)
SHAPE = {
    "model_type": "gemma",
    "architectures": ["GemmaForCausalLM"],
    "hidden_size": 256,
    "num_hidden_layers": 8,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "vocab_size": 8192,
    "max_position_embeddings": 1024,
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "pad_token_id": SPECIAL.index("<pad>"),
    "bos_token_id": SPECIAL.index("<bos>"),
    "eos_token_id": [SPECIAL.index("<eos>"), SPECIAL.index("<end_of_turn>")],
}
"""The shape of the small Gemma that all figures are about: 10 million parameters."""


def word_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """One token a word: special tokens, the prompts' words, and w0, w1, … up to `size`."""
    words = dict.fromkeys((*SPECIAL, "user", "model", *TEXT))
    known = [*words, *(f"w{i}" for i in range(size - len(words)))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=TEMPLATE,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
    )


def write(path: Path, **changed: Any) -> Path:
    """Write the model, with `changed` entries of `SHAPE`, in bf16, and give its directory."""
    config = {**SHAPE, **changed}
    model = build(config, mx.random.key(0))
    model.set_dtype(mx.bfloat16)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config, indent=1))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    word_tokenizer(config["vocab_size"]).save_pretrained(path)
    return path


if __name__ == "__main__":
    write(Path(sys.argv[1]), **(SHAPES[sys.argv[2]] if sys.argv[2:] else {}))
