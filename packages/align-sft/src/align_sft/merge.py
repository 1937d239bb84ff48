"""`align-sft merge`: one set of weights instead of base and adapters, published only if little is lost.

Requantizing a merge to 4 bits can round a small adapter away (mlx-lm issue 1172), so the merged model is compared with
base + adapters on held-out answers: exact KL(merged ‖ base + adapters) a token, and perplexity before and after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_unflatten

from align_contracts import Artifact, open_artifact, publish
from align_contracts.errors import ConfigError, KindError, VerificationError
from align_mlx.adapters import AdaptedLinear
from align_mlx.batching import Batch, by_length, pad
from align_mlx.compute import Compute, choose
from align_mlx.finite import require_finite
from align_mlx.loading import load_base, load_policy, policy_adapters
from align_mlx.logprobs import response_kl, response_stats
from align_mlx.perplexity import perplexity_of
from align_mlx.prefix import states
from align_mlx.resident import Resident
from align_sft.config import MergeConfig
from align_sft.model_files import quantization_record, require_room, store_form, write_model, write_tokenizer
from align_sft.rows import encode_rows, read_rows


@dataclass(frozen=True)
class Loss:
    """What a merge cost, on held-out answers.

    Attributes:
        kl: KL(merged ‖ base + adapters), nats a token.
        before: perplexity of base + adapters.
        after: perplexity of the merged model.
        tokens: response tokens compared.
    """

    kl: float
    before: float
    after: float
    tokens: int


def run(config: MergeConfig) -> int:
    """Merge a policy, measure the loss and publish, or refuse."""
    policy = open_artifact(config.policy, kind="policy")
    if policy.details.form == "merged":
        raise KindError(f"{policy.name} is merged already", expected="a residual policy", got="form merged")
    base = policy.input("base")
    data = open_artifact(config.data, kind="dataset") if config.data else policy.input("dataset")
    compute = choose(config.compute_form, config.compute_dtype)
    with publish(
        config.out,
        "policy",
        producer="align-sft",
        config=config,
        inputs={"base": base, "policy": policy, "dataset": data},
        overwrite=config.overwrite,
    ) as draft:
        model, stored, tokenizer = merged_model(policy, base, config.bits, config.group_size)
        require_room(config.out, model)
        write_model(draft, model, stored)
        write_tokenizer(draft, tokenizer)
        del model
        merged, exact = load_base(draft.dir, compute), load_policy(policy, compute)
        rows = read_rows(data, policy.details.format, "validation")[: config.max_rows]
        batches = encode_rows(rows, exact, config.max_seq_length).tokens
        if not batches:
            raise ConfigError("no validation row fits", expected=f"at most {config.max_seq_length} tokens")
        loss = compare(merged, exact, [pad([batches[i] for i in group]) for group in by_length(batches, 4096)])
        change = f"{loss.before:.3f} → {loss.after:.3f}"
        draft.summary = f"KL(merged || base + adapters) {loss.kl:.5f} nats a token, perplexity {change}"
        if loss.kl > config.max_kl and not config.force:
            raise VerificationError(
                "the merge loses too much",
                expected=f"at most {config.max_kl} nats a token (--max-kl)",
                got=f"{loss.kl:.5f}",
                do="Use --bits 8 or --bits 0, or --force to publish it all the same",
            )
        draft.details = {
            "method": policy.details.method,
            "form": "merged",
            "format": policy.details.format,
            "adapters": [],
            "seed": policy.details.seed,
            "selection": policy.details.selection,
            "merge": {
                "bits": config.bits,
                "kl": max(0.0, loss.kl),
                "perplexity_before": loss.before,
                "perplexity_after": loss.after,
            },
            "control": policy.details.control,
            "certificate": policy.details.certificate,
        }
        draft.seeds = list(policy.manifest.seeds)
        draft.quantization = quantization_record(stored)
        draft.metric("kl", max(0.0, loss.kl), n=loss.tokens)
        draft.metric("perplexity_before", loss.before, n=loss.tokens)
        draft.metric("perplexity_after", loss.after, n=loss.tokens)
    return 0


def merged_model(policy: Artifact, base: Artifact, bits: int, group_size: int) -> tuple[nn.Module, dict[str, Any], Any]:
    """Give the model W + Σ scale · (A B)ᵀ in its storage form, its config, and its tokenizer.

    One matrix at a time is made dense in fp32. Matrices without an adapter keep their codes where the base is already
    stored as asked.

    Raises:
        VerificationError: a merged weight is not finite.
    """
    resident = load_base(base.path, Compute(mx.bfloat16, dense=False))
    same = quantization_record(resident.config) == {"bits": bits, "group_size": group_size}
    adapters = policy_adapters(policy)
    for name, module in resident.maps.items():
        worn = [(*pair, a.scale) for a in adapters if (pair := a.pair(name)) is not None]
        if worn:
            linear = fold(module.base, worn)
            require_finite({name: linear.weight}, "the merged model", do="Keep the policy as base and adapters")
            fits = linear.weight.shape[-1] % group_size == 0
            module.base = linear.to_quantized(group_size, bits) if same and fits else linear
            mx.eval(module.base.parameters())
    unwrap(resident.model, resident.maps)
    model, config = store_form(resident.model, resident.config, bits, group_size)
    return model, config, resident.tokenizer


def fold(linear: nn.Module, worn: Sequence[tuple[mx.array, mx.array, float]]) -> nn.Linear:
    """Give a dense bf16 map whose weight has the adapters (A [in, r], B [r, out], scale) in it, added in fp32."""
    weight = linear.weight
    if isinstance(linear, nn.QuantizedLinear):
        scales, biases = (linear[part].astype(mx.float32) for part in ("scales", "biases"))
        weight = mx.dequantize(weight, scales, biases, linear.group_size, linear.bits)
    weight = weight.astype(mx.float32)
    for a, b, scale in worn:
        weight = weight + scale * (a @ b).T
    bias = linear.get("bias")
    dense = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    dense.weight = weight.astype(mx.bfloat16)
    if bias is not None:
        dense.bias = bias
    return dense


def unwrap(model: nn.Module, maps: Mapping[str, AdaptedLinear]) -> None:
    """Put the linear maps back in place of the `AdaptedLinear` around them, in place."""
    model.update_modules(tree_unflatten([(name, module.base) for name, module in maps.items()]))


def compare(merged: Resident, exact: Resident, batches: list[Batch]) -> Loss:
    """Measure KL and both perplexities over the response tokens of batches."""
    kl = before = after = 0.0
    tokens = 0
    for batch in batches:
        new_BSD, old_BSD = states(merged, batch), states(exact, batch)
        kl += response_kl(merged, new_BSD, old_BSD, batch, reference=exact).sum().item()
        before -= response_stats(exact, old_BSD, batch, gradient=False).logprobs_BT.sum().item()
        after -= response_stats(merged, new_BSD, batch, gradient=False).logprobs_BT.sum().item()
        tokens += int(batch.mask_BT.sum().item())
    return Loss(kl / tokens, perplexity_of(before, tokens), perplexity_of(after, tokens), tokens)
