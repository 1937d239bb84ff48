"""The head of a language model as one value: from hidden states to logits, whatever its architecture and storage.

A head is a linear map from the trunk's D numbers to V logits: the embedding's own matrix where a model ties them,
quantized or dense. Some architectures multiply or divide its output (Cohere, Granite), some cap it (Gemma 2). All of
it is data here, so that a blocked log-softmax can apply it to a few rows of the vocabulary at a time.
"""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from align_contracts.errors import ConfigError

_TRUNKS = ("model", "transformer", "backbone")
_EMBEDDINGS = ("embed_tokens", "wte", "tok_embeddings", "word_embeddings", "embedding", "embeddings")
_HEADS = ("lm_head", "output")
_MAPS = (nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding)


@dataclass(frozen=True)
class Head:
    """What turns hidden states into logits: ``softcap · tanh(scale · (h Wᵀ + bias) / softcap)``.

    Attributes:
        linear: the module that holds the weights: a linear map or, where tied, the embedding; dense or quantized.
        tied: the embedding's matrix is used.
        scale: factor of the product.
        softcap: bound of the logits; None for none. Source: Gemma 2, arXiv 2408.00118, section 2.
    """

    linear: Any
    tied: bool = False
    scale: float = 1.0
    softcap: float | None = None

    @property
    def weight(self) -> mx.array:
        """[V, D] dense, or the packed codes [V, D · bits / 32] (uint32) of a quantized head."""
        return self.linear.weight

    @property
    def quantized(self) -> bool:
        """Whether the weight is packed codes with `scales` and `biases` [V, D / group_size]."""
        return isinstance(self.linear, (nn.QuantizedLinear, nn.QuantizedEmbedding))

    @property
    def scales(self) -> mx.array | None:
        """The scales of a quantized head's groups; None for a dense head."""
        return self.linear.scales if self.quantized else None

    @property
    def biases(self) -> mx.array | None:
        """The offsets of a quantized head's groups; None for a dense head and for formats without."""
        return self.linear.get("biases") if self.quantized else None

    @property
    def bias(self) -> mx.array | None:
        """[V], added to the product; None for none."""
        return self.linear.get("bias")

    @property
    def group_size(self) -> int:
        """Inputs that share a scale; 0 for a dense head."""
        return int(self.linear.group_size) if self.quantized else 0

    @property
    def bits(self) -> int:
        """Bits of a code; 0 for a dense head."""
        return int(self.linear.bits) if self.quantized else 0

    @property
    def vocab_size(self) -> int:
        """Number V of logits."""
        return int(self.weight.shape[0])

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""
        columns = int(self.weight.shape[1])
        return columns * 32 // self.bits if self.quantized else columns

    def product(self, hidden: mx.array, rows: slice | None = None) -> mx.array:
        """Give ``h Wᵀ`` in the weights' own number format, for all rows of the vocabulary or for `rows` of it.

        Args:
            hidden: [..., D].
            rows: ``slice(start, stop)`` of the vocabulary; None for all of it.

        Returns:
            [..., V] or [..., stop − start], without bias, scale and cap.
        """
        weight = self.weight[rows or slice(None)]
        if not self.quantized:
            return hidden @ weight.T
        return mx.quantized_matmul(hidden, weight, transpose=True, **self._codes(rows or slice(None)))

    def logits(self, hidden: mx.array, rows: slice | None = None) -> mx.array:
        """Give fp32 logits [..., V] of hidden states [..., D], or of the vocabulary's `rows` alone."""
        out = self.product(hidden, rows).astype(mx.float32)
        if self.bias is not None:
            out = out + self.bias[rows or slice(None)].astype(mx.float32)
        if self.scale != 1.0:
            out = out * self.scale
        return out if self.softcap is None else self.softcap * mx.tanh(out / self.softcap)

    def slope(self, logits: mx.array) -> mx.array | None:
        """Give ∂ logit / ∂ (h Wᵀ) at logits of any shape; None where it is 1 everywhere."""
        if self.softcap is None:
            return None if self.scale == 1.0 else mx.full(logits.shape, self.scale)
        return self.scale * (1.0 - mx.square(logits / self.softcap))

    def back(self, values: mx.array, rows: slice | None = None, dtype: mx.Dtype = mx.float32) -> mx.array:
        """Give fp32 ``values W`` [..., D]: what `product` does, backwards.

        Args:
            values: [..., V] or [..., stop − start].
            rows: the rows of the vocabulary that the values stand for; None for all of it.
            dtype: number format of the product, as that of the hidden states.
        """
        weight, values = self.weight[rows or slice(None)], values.astype(dtype)
        if not self.quantized:
            return (values @ weight).astype(mx.float32)
        codes = self._codes(rows or slice(None))
        return mx.quantized_matmul(values, weight, transpose=False, **codes).astype(mx.float32)

    def embed(self, ids: mx.array) -> mx.array:
        """Give the rows of W in fp32, [..., D], at ids [...]."""
        weight = self.weight[ids]
        return (mx.dequantize(weight, **self._codes(ids)) if self.quantized else weight).astype(mx.float32)

    def _codes(self, rows: slice | mx.array) -> dict[str, Any]:
        """What turns some rows' packed codes into numbers, as MLX's quantized operations take it."""
        biases = None if self.biases is None else self.biases[rows]
        form = {"group_size": self.group_size, "bits": self.bits, "mode": self.linear.mode}
        return {"scales": self.linear.scales[rows], "biases": biases, **form}


def language_model(model: nn.Module) -> nn.Module:
    """Give the text model inside a multimodal wrapper (Gemma 3's ``language_model``), or the model itself."""
    return getattr(model, "language_model", model)


def find_trunk(model: nn.Module) -> nn.Module:
    """Give the module that turns ids into hidden states after the final norm.

    Raises:
        ConfigError: the model keeps it under a name we do not know.
    """
    return _one_of(language_model(model), _TRUNKS, nn.Module, "trunk")


def find_head(model: nn.Module) -> Head:
    """Describe the head of an mlx-lm model.

    The factors that we know: ``logit_scale`` multiplies (Cohere), ``logits_scaling`` divides (Granite),
    ``dim_model_base / hidden_size`` multiplies where the head is not tied (MiniCPM). What a model does besides is
    found out by `align_mlx.loading.require_own_logits`.

    Raises:
        ConfigError: there is neither a head nor an embedding that we know.
    """
    text = language_model(model)
    own = next((found for name in _HEADS if isinstance(found := getattr(text, name, None), _MAPS)), None)
    linear = own if own is not None else _one_of(find_trunk(model), _EMBEDDINGS, _MAPS, "head or embedding")
    args: Any = getattr(text, "args", None)
    scale = getattr(args, "logit_scale", 1.0) / getattr(args, "logits_scaling", 1.0)
    if own is not None and hasattr(args, "dim_model_base"):
        scale *= args.dim_model_base / args.hidden_size
    softcap = getattr(text, "final_logit_softcapping", None) or getattr(args, "final_logit_softcapping", None)
    return Head(linear, tied=own is None, scale=scale, softcap=softcap)


def _one_of(owner: nn.Module, names: tuple[str, ...], kinds: Any, what: str) -> Any:
    for name in names:
        if isinstance(found := getattr(owner, name, None), kinds):
            return found
    raise ConfigError(
        f"the model {type(owner).__module__}.{type(owner).__qualname__} has no {what} that we know",
        expected=" or ".join(names),
        got=", ".join(sorted(owner.children())),
        do="use a model of another architecture",
    )
