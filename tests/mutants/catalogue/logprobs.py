"""Batches, log-probs, the blocked softmax and its gradient."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_mlx/batching.py",
        "test_logprobs.py",
        (
            "states-shifted",
            "self.starts_B[:, None] - 1 + steps",
            "self.starts_B[:, None] + steps",
            "each token is scored by the state that has seen it",
        ),
        (
            "targets-shifted",
            "self.positions_BS[:, 1:]",
            "self.positions_BS[:, :-1]",
            "the model is asked for the token that it has just read",
        ),
        (
            "mask-shifted",
            "[(1,) * len(row.response) for row in rows]",
            "[(0,) + (1,) * len(row.response) for row in rows]",
            "the first token is left out and a padding token counts",
        ),
        (
            "end-token-not-scored",
            "[(1,) * len(row.response) for row in rows]",
            "[(1,) * (len(row.response) - 1) for row in rows]",
            "the policy is never paid for ending",
        ),
        (
            "prompt-left-out",
            "_padded([row.ids for row in rows], pad_token)",
            "_padded([(pad_token,) * len(row.prompt) + row.response for row in rows], pad_token)",
            "answers are scored behind padding instead of their prompt",
        ),
    ),
    *bugs(
        "align_mlx/prefix.py",
        "test_invariance.py",
        (
            "prompt-detached",
            "self.stored = [keys, values]",
            "self.stored = [mx.stop_gradient(keys), mx.stop_gradient(values)]",
            "no gradient comes from what the prompt says to the answer",
        ),
        (
            "answers-begin-at-zero",
            "return 0 if self.starts_B is None else self.starts_B",
            "return 0",
            "answers stand at their prompt's own positions",
        ),
        (
            "padding-behind-the-prompt-seen",
            "mx.broadcast_to(prompt_L < starts_B11,",
            "mx.broadcast_to(prompt_L >= 0,",
            "the numbers depend on the longest prompt of the batch",
        ),
        (
            "prompt-without-window",
            "prompt_BTL = prompt_BTL & (starts_B11 + place_T[:, None] - prompt_L < window_size)",
            "pass",
            "Gemma 3's answers see further back than the model does",
        ),
        (
            "first-token-behind-the-padding",
            "prompts_PLD[batch.prompt_B, batch.starts_B - 1]",
            "prompts_PLD[batch.prompt_B, -1]",
            "the first answer token is read off another place",
        ),
        (
            "behind-the-next-prompt",
            "array[self.prompt_B]",
            "array[(self.prompt_B + 1) % array.shape[0]]",
            "answers are scored behind another prompt",
        ),
    ),
    *bugs(
        "align_mlx/head.py",
        "test_logprobs.py",
        (
            "half-precision-softmax",
            "self.product(hidden, rows).astype(mx.float32)",
            "self.product(hidden, rows).astype(mx.float16).astype(mx.float32)",
            "ratios are noise of a thousandth",
        ),
        (
            "soft-cap-left-out",
            "self.softcap * mx.tanh(out / self.softcap)",
            "out",
            "Gemma 2's logits are not those that it was trained with",
        ),
        (
            "soft-cap-without-slope",
            "(1.0 - mx.square(logits / self.softcap))",
            "mx.ones_like(logits)",
            "the gradient does not know of the cap",
        ),
    ),
    *bugs(
        "align_mlx/softmax.py",
        "test_logprobs.py",
        (
            "temperature-ignored",
            "logits_NV / temperature if temperature != 1.0 else logits_NV",
            "logits_NV",
            "log-probs are not those of the policy that sampled",
        ),
        (
            "gradient-without-temperature",
            "others_ND) / temperature]",
            "others_ND)]",
            "the step is as much too small as the temperature is low",
        ),
        (
            "gradient-of-the-target-alone",
            "* target_ND - others_ND)",
            "* target_ND)",
            "all logits are pushed up: the softmax's normaliser is a constant",
        ),
        (
            "target-among-the-others",
            "targets_N[:, None], 0.0, powers_NV)",
            "targets_N[:, None], powers_NV, powers_NV)",
            "the target is pushed down as the others are, and where it is likely the difference cancels",
        ),
        (
            "cotangent-ignored",
            "cotangents[i][:, None] * outputs[kinds + i]",
            "outputs[kinds + i]",
            "every token has the same weight, whatever its advantage",
        ),
    ),
    *bugs(
        "align_mlx/softmax.py",
        "test_invariance.py",
        (
            "log-sum-exp-not-rescaled",
            "keep_N * self.total_N,",
            "self.total_N,",
            "blocks are added relative to different largest logits",
        ),
        (
            "gradient-not-rescaled",
            "keep_N1 * self.row_ND,",
            "self.row_ND,",
            "the same for the mean row of the head",
        ),
        (
            "energy-not-shifted",
            "self.energy_N + shift_N * self.total_N",
            "self.energy_N",
            "the entropy is wrong wherever the largest logit is in a later block",
        ),
        (
            "energy-gradient-not-shifted",
            "self.energy_row_ND + shift_N1 * self.row_ND",
            "self.energy_row_ND",
            "and so is its gradient",
        ),
        (
            "target-of-the-last-block",
            "mx.where(places_N + cut.start == targets_N, found_N, chosen_N)",
            "found_N",
            "the target's logit is some logit of the last block",
        ),
        (
            "entropy-gradient-not-centred",
            "sums.excess_N[:, None] * others_ND - sums.energy_row_ND",
            "others_ND - sums.energy_row_ND",
            "the entropy bonus pushes elsewhere",
        ),
    ),
    *bugs(
        "align_mlx/logprobs.py",
        "test_logprobs.py",
        (
            "padding-has-logprobs",
            "mx.where(mask_BT > 0, values_N.reshape(mask_BT.shape), 0.0)",
            "values_N.reshape(mask_BT.shape)",
            "padding is scored, and its numbers are added up",
        ),
    ),
    *bugs(
        "align_mlx/perplexity.py",
        "test_logprobs.py",
        (
            "perplexity-by-answer",
            "perplexity_of(total, tokens)",
            "perplexity_of(total, len(rows))",
            "long answers look surprising",
        ),
    ),
    *bugs(
        "align_mlx/fastmath.py",
        "test_custom_gradients.py",
        (
            "exp-without-chain-rule",
            "return cotangent * output",
            "return output",
            "whatever is behind the exponential gets no say",
        ),
        (
            "gelu-with-another-slope",
            "return _gelu_slope(x, cotangent)",
            "return cotangent * (0.5 + _odd_ratio(_CDF_P, _CDF_Q, x))",
            "gelu'(x) = Φ(x) + x φ(x), and the second term is missing",
        ),
    ),
)
