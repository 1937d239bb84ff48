"""What an RL run reads, at unit-test size and published by the real store: a random Gemma (hidden 32, 2 blocks,
64 tokens) as base, an SFT policy, reward models on it, and a dataset."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model, ModelArgs
from mlx_lm.utils import quantize_model
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from align_contracts import open_artifact, publish
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.compute import Compute
from align_mlx.resident import load_base, load_policy
from align_mlx.reward import load_scorer
from align_mlx.rollout import Draw
from align_mlx.train_state import TrainState
from align_rl import data as rl_data
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.methods.actor import actor_adapter
from align_rl.rollout import collect
from align_rl.run import make_method

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n", "user", "model"]
WORDS = [f"w{i}" for i in range(64 - len(SPECIAL))]
GEMMA = {
    "model_type": "gemma",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": 64,
    "eos_token_id": [1, 5],
    "bos_token_id": 2,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ADAPTER = {"name": "sft", "file": "adapter.safetensors", "rank": 4, "alpha": 8.0, "layers": 2, "targets": ["q_proj"]}
SETTINGS = {
    "num_iterations": 3,
    "batch_size": 4,
    "minibatches": 2,
    "learning_rate": 1e-2,
    "max_seq_length": 32,
    "max_prompt_length": 16,
    "max_response_length": 10,
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "eval_every": 2,
    "eval_prompts": 5,
    "compute_form": "dense",
    "compute_dtype": "float32",
    "quiet": True,
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; ids are positions in SPECIAL + WORDS (w0 is 9)."""
    words = models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL[:6]])
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE, **named)


def publish_base(path: Path, bits: int = 0):
    """A random Gemma, drawn wide so that its answers differ and end by themselves now and then."""
    model = Model(ModelArgs.from_dict(GEMMA))
    rng = np.random.default_rng(7)
    weights = {}
    for name, value in sorted(tree_flatten(model.parameters())):
        drawn = rng.normal(0, 0.3, value.shape)
        if name == "model.norm.weight":
            drawn = rng.choice([-2.0, 0.0], value.shape)  # Gemma adds 1: signs, so that inputs are not repeated
        if name == "model.embed_tokens.weight":
            drawn[[1, 5]] *= 1.7
        weights[name] = mx.array(drawn, mx.float32)
    config = dict(GEMMA)
    if bits:
        model.load_weights(list(weights.items()))
        model, config = quantize_model(model, config, 32, bits)
        config.pop("quantization_config", None)
        weights = dict(tree_flatten(model.parameters()))
    with publish(path, "base_model", producer="align-sft", config={}) as draft:
        mx.save_safetensors(str(draft.file("model.safetensors", role="weights")), weights, metadata={"format": "mlx"})
        draft.write_json("config.json", config, role="config")
        make_tokenizer().save_pretrained(path.parent / ".tokenizer")
        for found in sorted((path.parent / ".tokenizer").iterdir()):
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


def random_adapter(maps, seed: int, size: float = 0.2) -> Adapter:
    """An adapter that changes something: B is drawn instead of zero."""
    params = dict(lora.fresh(maps, LoraSpec(4, 8.0, 2), mx.random.key(seed)).params)
    for i, name in enumerate(sorted(k for k in params if k.endswith("lora_b"))):
        params[name] = size * mx.random.normal(params[name].shape, key=mx.random.key(1000 * seed + i))
    return Adapter(params, 2.0)


def publish_policy(path: Path, base, adapter: Adapter, **details):
    """An SFT policy; `details` override its manifest's."""
    with publish(path, "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        plain = {"method": "sft", "form": "residual", "format": "chosen", "adapters": [ADAPTER]}
        draft.details = {**plain, **details}
    return open_artifact(path)


def publish_rm(path: Path, base, policy, adapter: Adapter, *, sign: float = 1.0, backbone: str = "policy"):
    """A reward model whose scores on typical answers have about mean 1.5 and std 2, or the opposite (`sign` −1)."""
    inputs = {"base": base, "policy": policy}
    with publish(path, "reward_model", producer="align-rm", config={}, inputs=inputs) as draft:
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        weight = sign * 0.35 * mx.random.normal((1, 32), key=mx.random.key(3))
        head = {"weight": weight, "bias": mx.array([sign * 1.5])}
        mx.save_safetensors(str(draft.file("head.safetensors", role="head")), head, metadata={"format": "mlx"})
        draft.details = {
            "adapter": {**ADAPTER, "name": "rm"},
            "head_file": "head.safetensors",
            "backbone": backbone,
            "split": "train",
            "pairwise_accuracy": 0.5,
            "ece_before": 0.1,
            "ece_after": 0.1,
            "temperature": 1.0,
            "calibration": {"mean": sign * 1.5, "std": 2.0, "n": 10},
            "max_length": 64,
        }


def publish_data(path: Path, train: int = 10):
    """`train` prompts of 1–5 words to learn on (the last one far too long), 7 to validate with chosen answers."""
    rng = np.random.default_rng(0)

    def words(n: int) -> str:
        return " ".join(rng.choice(WORDS, n))

    prompts = [{"prompt_id": f"t{i}", "prompt": words(1 + i % 5), "category": "factual"} for i in range(train)]
    prompts[-1]["prompt"] = words(40)
    validation = [{"prompt_id": f"v{i}", "prompt": words(1 + i % 5), "category": "creative"} for i in range(7)]
    turns = [
        {
            "prompt_id": row["prompt_id"],
            "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": words(1 + i)}],
            "score": 5.0,
        }
        for i, row in enumerate(validation)
    ]
    with publish(path, "dataset", producer="align-data", config={}) as draft:
        draft.write_jsonl("prompts/train.jsonl", prompts, role="prompts_train")
        draft.write_jsonl("prompts/validation.jsonl", validation, role="prompts_validation")
        draft.write_jsonl("sft/validation.jsonl", turns, role="sft_validation")
        counts = {"prompts_train": len(prompts), "prompts_validation": 7, "sft_validation": 7}
        draft.details = {
            "source": "test",
            "split_seed": 42,
            "counts": counts,
            "categories": {},
            "formats": ["chosen"],
            "has_checks": False,
        }


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Artifacts base, sft, rm, data; base4, sft4, rm4 on 4 bits; and wrong ones: -other, -genrm, -merged, …"""
    folder = tmp_path_factory.mktemp("store")
    base = publish_base(folder / "base")
    maps = load_base(base.path).maps
    sft = publish_policy(folder / "sft", base, random_adapter(maps, 1))
    other = publish_policy(folder / "sft-other", base, random_adapter(maps, 4))
    genrm = publish_policy(folder / "sft-genrm", base, random_adapter(maps, 5), format="genrm")
    merge = {"bits": 0, "kl": 0.0, "perplexity_before": 2.0, "perplexity_after": 2.0}
    merged = publish_policy(folder / "sft-merged", base, random_adapter(maps, 1), form="merged", merge=merge)
    ranker = random_adapter(maps, 2)
    publish_rm(folder / "rm", base, sft, ranker)
    publish_rm(folder / "rm-flipped", base, sft, ranker, sign=-1.0)
    publish_rm(folder / "rm-base", base, sft, ranker, backbone="base")
    publish_rm(folder / "rm-other", base, other, ranker)
    publish_rm(folder / "rm-genrm", base, genrm, ranker)
    publish_rm(folder / "rm-merged", base, merged, ranker)
    small = publish_base(folder / "base4", bits=4)
    publish_rm(folder / "rm4", small, publish_policy(folder / "sft4", small, random_adapter(maps, 1)), ranker)
    publish_data(folder / "data")
    publish_data(folder / "tiny-data", train=1)
    return folder


@pytest.fixture(scope="session")
def settings():
    """The settings of a small run."""
    return SETTINGS


@pytest.fixture
def configure(store, tmp_path):
    """Make a config of a small run: configure("ppo", learning_rate=…)."""

    def make(method: str, **settings):
        kind = {"ppo": PPOConfig, "grpo": GRPOConfig}[method]
        paths = {"sft": store / "sft", "rm": store / "rm", "data": store / "data", "out": tmp_path / "out"}
        extra = {"K": 3} if method == "grpo" else {}
        return kind(**{**paths, **SETTINGS, **extra, **settings})

    return make


@pytest.fixture(scope="session")
def resident(store):
    """The SFT policy, dense fp32; never changed by a test."""
    return load_policy(open_artifact(store / "sft"), Compute(mx.float32, dense=True))


@pytest.fixture(scope="session")
def scorer(store, resident):
    """The reward model over it."""
    return load_scorer(open_artifact(store / "rm"), resident)


@pytest.fixture
def start(store, resident, scorer):
    """Begin a run by hand: start(config) gives (method, state, rollout of the first four training prompts).

    The actor's B is drawn instead of zero, as if some updates were done.
    """

    def begin(config, rm: str | None = None, *, moved: bool = True):
        model = scorer if rm is None else load_scorer(open_artifact(store / rm), resident)
        method = make_method(config, resident, model)
        state = TrainState.start(method.params(mx.random.key(config.seed)))
        if moved:
            moving = {f"actor.{k}": v for k, v in random_adapter(resident.maps, 6, size=0.05).params.items()}
            state.params = {**state.params, **moving}
        prompts = rl_data.load(open_artifact(config.data), resident, config).train[: config.batch_size]
        actor = actor_adapter(state.params, config)
        rollout = collect(resident, actor, model, prompts, config, draw=Draw(config.seed), answers=method.answers)
        return method, state, rollout

    return begin
