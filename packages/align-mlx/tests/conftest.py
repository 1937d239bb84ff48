"""The tiny Gemma (hidden 32, 2 blocks, 64 tokens) as artifacts, in memory and with adapters."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_model

from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.loading import load_base
from tiny.models import make_model, quantize
from tiny.stores import publish_base, publish_policy, publish_rm, random_adapter
from tiny.templates import GEMMA
from tiny.tokenizer import word_tokenizer


def publish_gemma(path, bits: int = 0, template: str | None = GEMMA.jinja, **settings):
    """Publish the tiny Gemma as a base, quantized if `bits` is not 0; `settings` are entries of its config.json."""
    model, config = make_model("gemma", **settings)
    if bits:
        model, config = quantize(model, config, bits)
    return publish_base(path, model, config, word_tokenizer(replace(GEMMA, jinja=template)))


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Directory with the artifacts base, base4 (4 bits), sft and rm (on sft)."""
    folder = tmp_path_factory.mktemp("store")
    base = publish_gemma(folder / "base")
    publish_gemma(folder / "base4", bits=4)
    maps = load_base(base.path).maps
    sft = publish_policy(folder / "sft", base, random_adapter(maps, 1))
    publish_rm(folder / "rm", sft, random_adapter(maps, 2), weight=1.0, bias=0.5)
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
    return publish_gemma


@pytest.fixture(scope="session")
def tokenizer_of():
    """Make a tokenizer with another chat template, wrapped as mlx-lm wraps it."""
    return lambda template: TokenizerWrapper(word_tokenizer(replace(GEMMA, jinja=template)))


@pytest.fixture(scope="session")
def rows():
    """Twelve conversations of prompt lengths 1 … 30 and response lengths 1 … 40, random ids."""
    rng = np.random.default_rng(5)
    prompts, responses = [1, 3, 30, 5, 16, 15, 9, 12, 2, 25, 7, 1], [1, 7, 2, 40, 16, 17, 3, 20, 33, 25, 9, 5]
    drawn = [[tuple(rng.integers(9, 64, n).tolist()) for n in lengths] for lengths in (prompts, responses)]
    return [Tokens(*pair) for pair in zip(*drawn, strict=True)]
