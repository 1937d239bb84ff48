"""A random Gemma small enough for unit tests (hidden 32, 2 blocks, 64 tokens), published by the real store.

Its weights are drawn wide, so that distributions are far from uniform and answers end by themselves now and then.
"""

import importlib
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model, ModelArgs
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_model, quantize_model
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from align_contracts import open_artifact, publish
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.resident import Resident, load_base

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n", "user", "model"]
WORDS = [f"w{i}" for i in range(64 - len(SPECIAL))]
CONFIG = {
    "model_type": "gemma",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "vocab_size": 64,
    "eos_token_id": [1, 5],
    "bos_token_id": 2,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPEC = LoraSpec(rank=4, alpha=8.0, layers=2)


def make_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token a word; ids are positions in SPECIAL + WORDS (w0 is 9)."""
    words = models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL[:6]])
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        chat_template=template,
    )


def make_model() -> Model:
    """A random Gemma in fp32 whose numbers bf16 holds exactly."""
    model = Model(ModelArgs.from_dict(CONFIG))
    rng = np.random.default_rng(7)
    weights = {}
    for name, value in sorted(tree_flatten(model.parameters())):
        drawn = rng.normal(0, 0.3, value.shape)
        if name.endswith("norm.weight"):
            # Gemma adds 1: random signs at the last norm keep the tied head from just repeating its input.
            drawn = rng.choice([-2.0, 0.0], value.shape) if name == "model.norm.weight" else drawn
        if name == "model.embed_tokens.weight":
            drawn[[1, 5]] *= 1.7  # wide logits: the end tokens are likely now and then
        weights[name] = mx.array(drawn.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32)
    model.load_weights(list(weights.items()))
    return model


def publish_base(path: Path, bits: int = 0, template: str | None = TEMPLATE, **settings):
    """Publish the model as a base artifact, quantized in groups of 32 if `bits` is not 0."""
    model, config = make_model(), {**CONFIG, **settings}
    if bits:
        model.set_dtype(mx.bfloat16)
        model, config = quantize_model(model, config, 32, bits)
        config.pop("quantization_config", None)
    with publish(path, "base_model", producer="align-mlx", config={"bits": bits}) as draft:
        file = draft.file("model.safetensors", role="weights")
        mx.save_safetensors(str(file), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"})
        draft.write_json("config.json", config, role="config")
        make_tokenizer(template).save_pretrained(path.parent / f"tokenizer-{path.name}")
        for found in sorted((path.parent / f"tokenizer-{path.name}").iterdir()):
            draft.file(found.name, role=f"tokenizer_{found.name}").write_bytes(found.read_bytes())
        draft.details = {
            "architecture": "gemma",
            "hidden_size": 32,
            "num_layers": 2,
            "vocab_size": 64,
            "parameters": 1,
            "quantization": {"bits": bits, "group_size": 32} if bits else None,
            "source": "test",
            "embedded": False,
        }
    return open_artifact(path)


def random_adapter(maps, seed: int, spec: LoraSpec = SPEC, size: float = 0.2) -> Adapter:
    """An adapter that changes something: B is drawn instead of zero."""
    adapter = lora.fresh(maps, spec, mx.random.key(seed))
    params = dict(adapter.params)
    for i, name in enumerate(sorted(k for k in params if k.endswith("lora_b"))):
        params[name] = size * mx.random.normal(params[name].shape, key=mx.random.key(1000 * seed + i))
    return Adapter(params, adapter.scale)


ADAPTER = {"name": "sft", "file": "adapter.safetensors", "rank": 4, "alpha": 8.0, "layers": 2, "targets": ["q_proj"]}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Directory with the artifacts base, base4 (4 bits), sft and rm (on sft)."""
    folder = tmp_path_factory.mktemp("store")
    base = publish_base(folder / "base")
    publish_base(folder / "base4", bits=4)
    maps = load_base(base.path).maps
    inputs = {"base": base}
    with publish(folder / "sft", "policy", producer="align-sft", config={}, inputs=inputs) as draft:
        lora.save(random_adapter(maps, 1), draft.file("adapter.safetensors", role="adapter"))
        draft.details = {"method": "sft", "form": "residual", "format": "chosen", "adapters": [ADAPTER]}
    inputs = {"base": base, "policy": open_artifact(folder / "sft")}
    with publish(folder / "rm", "reward_model", producer="align-rm", config={}, inputs=inputs) as draft:
        lora.save(random_adapter(maps, 2), draft.file("adapter.safetensors", role="adapter"))
        head = {"weight": mx.random.normal((1, 32), key=mx.random.key(3)), "bias": mx.array([0.5])}
        mx.save_safetensors(str(draft.file("head.safetensors", role="head")), head, metadata={"format": "mlx"})
        draft.details = {
            "adapter": {**ADAPTER, "name": "rm"},
            "head_file": "head.safetensors",
            "backbone": "policy",
            "split": "train",
            "pairwise_accuracy": 0.5,
            "ece_before": 0.1,
            "ece_after": 0.1,
            "temperature": 1.0,
            "calibration": {"mean": 1.5, "std": 2.0, "n": 10},
            "max_length": 64,
        }
    return folder


@pytest.fixture(scope="session")
def resident(store):
    """The dense fp32 base; never changed by a test."""
    return load_base(store / "base", Compute(mx.float32, dense=True))


@pytest.fixture
def new_resident(store):
    """Load the base anew, for tests that change it."""

    def load(name: str = "base", dense: bool = True, dtype: mx.Dtype = mx.float32):
        return load_base(store / name, Compute(dtype, dense))

    return load


@pytest.fixture(scope="session")
def plain(store):
    """mlx-lm's own model from the same files: full forward in fp32, no cache, no wrapping."""
    model, _ = load_model(store / "base")
    model.set_dtype(mx.float32)
    return lambda ids: np.array(model(mx.array([ids]))[0], np.float64)


@pytest.fixture(scope="session")
def adapter(resident):
    """An adapter on the base that changes something."""
    return random_adapter(resident.maps, 11)


@pytest.fixture(scope="session")
def make_adapter():
    """The factory of such adapters."""
    return random_adapter


@pytest.fixture(scope="session")
def make_base():
    """The factory of base artifacts."""
    return publish_base


@pytest.fixture(scope="session")
def tokenizer_of():
    """Make a tokenizer with another chat template, wrapped as mlx-lm wraps it."""
    return lambda template: TokenizerWrapper(make_tokenizer(template))


@pytest.fixture(scope="session")
def rows():
    """Twelve conversations of prompt lengths 1 … 30 and response lengths 1 … 40, random ids."""
    rng = np.random.default_rng(5)
    prompts, responses = [1, 3, 30, 5, 16, 15, 9, 12, 2, 25, 7, 1], [1, 7, 2, 40, 16, 17, 3, 20, 33, 25, 9, 5]
    drawn = [[tuple(rng.integers(9, 64, n).tolist()) for n in lengths] for lengths in (prompts, responses)]
    return [Tokens(*pair) for pair in zip(*drawn, strict=True)]


@pytest.fixture(scope="session")
def kin():
    """Give a random model of another Gemma as (resident, its own full forward): gemma2 or gemma3_text."""

    def make(kind: str):
        sizes = dict(CONFIG, model_type=kind, sliding_window=8, sliding_window_pattern=2, final_logit_softcapping=3.0)
        if kind == "gemma2":
            sizes["num_key_value_heads"] = 2  # mlx-lm's gemma2 takes no batch mask where heads share keys
        module = importlib.import_module(f"mlx_lm.models.{kind}")
        models = [module.Model(module.ModelArgs.from_dict(sizes)) for _ in range(2)]
        rng = np.random.default_rng(8)
        weights = [
            (k, mx.array(rng.normal(0, 0.3, v.shape), mx.float32)) for k, v in tree_flatten(models[0].parameters())
        ]
        for model in models:
            model.load_weights(weights)
        maps = lora.wrap(models[0])
        resident = Resident(models[0], None, maps, Compute(mx.float32, dense=True), frozenset({1, 5}))
        return resident, lambda ids: np.array(models[1](mx.array([ids]))[0], np.float64)

    return make
