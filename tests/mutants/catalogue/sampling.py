"""Rollouts: numbers of a place, the inverse CDF, the cache of a batch, rows that end."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_mlx/sampling.py",
        "test_rollout.py",
        ("seed-ignored", "np.array(seed, np.uint64)", "np.array(0, np.uint64)", "all seeds draw the same answers"),
        ("iteration-ignored", "np.array(iteration,", "np.array(0,", "a prompt seen again gives the same answers"),
        ("prompt-ignored", "np.asarray(prompts_B)", "np.zeros_like(prompts_B)", "all prompts share their numbers"),
        ("k-ignored", "np.asarray(answers_B)", "np.zeros_like(answers_B)", "the K answers of a prompt are one"),
        ("t-ignored", "np.arange(steps, dtype", "np.zeros(steps, dtype", "every token of an answer has one number"),
        (
            "inverse-cdf-off-by-one",
            "(block_B1 * BLOCK + place_B1)",
            "(block_B1 * BLOCK + place_B1 + 1)",
            "the token after the drawn one is taken",
        ),
        (
            "inverse-cdf-not-normalised",
            "uniforms_B[:, None] * cdf_BN[:, -1:]",
            "uniforms_B[:, None]",
            "the weights are taken for probabilities",
        ),
        (
            "inverse-cdf-blocks-not-subtracted",
            "aim_B1 - before_B1)",
            "aim_B1)",
            "inside a block the weights before it are forgotten",
        ),
        (
            "sampling-temperature-upside-down",
            "logits_BV / temperature",
            "logits_BV * temperature",
            "a low temperature flattens instead of sharpening",
        ),
    ),
    *bugs(
        "align_mlx/rollout.py",
        "test_rollout.py",
        (
            "a-prompt-twice-answers-alike",
            "np.tile(np.arange(answers), len(prompts)) + ",
            "np.tile(np.arange(answers), len(prompts)) + 0 * ",
            "a prompt that stands twice in an iteration gives the same answers twice",
        ),
        (
            "sampling-temperature-ignored",
            "mx.array(draws_BT[alive, t + 1]), temperature)",
            "mx.array(draws_BT[alive, t + 1]), 1.0)",
            "the sampled policy is not the scored one",
        ),
        (
            "draws-by-row",
            "np.repeat([p.number for p in prompts], answers)",
            "np.repeat(np.arange(len(prompts)), answers)",
            "draws depend on who else is in the batch",
        ),
        (
            "k-repeated-not-tiled",
            "np.tile(np.arange(answers), len(prompts))",
            "np.repeat(np.arange(answers), len(prompts))",
            "answers of a prompt share numbers, and with the batch other ones",
        ),
        (
            "draws-not-compacted",
            "draws_BT[alive, t + 1]",
            "draws_BT[: len(alive), t + 1]",
            "when a row has ended, the others go on with its numbers",
        ),
        (
            "wrong-rows-go-on",
            "ahead, alive = ahead[keep], alive[going]",
            "ahead, alive = ahead[keep], alive[: len(going)]",
            "tokens are written to answers that have ended",
        ),
        (
            "ended-rows-hand-on-their-tokens",
            "ahead, alive = ahead[keep],",
            "ahead, alive = ahead[: keep.size],",
            "rows go on with the tokens of those that have ended",
        ),
        (
            "cache-keeps-ended-rows",
            "_keep_rows(cache, keep)",
            "_keep_rows(cache, mx.arange(keep.size))",
            "rows go on with the keys of those that have ended",
        ),
        (
            "the-step-ahead-repeats-its-number",
            "draws_BT[alive, t + 1]",
            "draws_BT[alive, t]",
            "the first two tokens of every answer share a number",
        ),
        (
            "ended-rows-go-on-speaking",
            "if not ended[place]:",
            "if place >= 0:",
            "what a row draws behind its end stays in the answer",
        ),
        (
            "prefixes-in-another-order",
            "_keep_rows(cache, each)",
            "_keep_rows(cache, mx.array(np.tile(np.arange(len(prompts)), answers)))",
            "answers attend to another prompt's keys",
        ),
        (
            "values-of-other-rows",
            "layer.keys[rows], layer.values[rows]",
            "layer.keys[rows], layer.values[: rows.size]",
            "rows attend to their own keys and read another row's values",
        ),
        (
            "rope-offset-of-another-prompt",
            "layer.offset[rows], layer",
            "layer.offset[mx.sort(rows)[::-1]], layer",
            "new tokens are rotated by another prompt's length",
        ),
        (
            "padding-of-another-prompt",
            "layer.left_padding[rows]",
            "layer.left_padding[mx.sort(rows)[::-1]]",
            "padding is attended, or the prompt's beginning is not",
        ),
        (
            "padding-attended",
            "BatchKVCache(padding)",
            "BatchKVCache([0] * len(padding))",
            "short prompts are read with the padding before them, at wrong positions",
        ),
        (
            "padding-attended-in-the-window",
            "BatchRotatingKVCache(single.max_size, padding)",
            "BatchRotatingKVCache(single.max_size, [0] * len(padding))",
            "the same in layers with a sliding window",
        ),
        (
            "window-of-another-size",
            "BatchRotatingKVCache(single.max_size, padding)",
            "BatchRotatingKVCache(single.max_size - 1, padding)",
            "decoding forgets a token that scoring still sees",
        ),
        (
            "prompts-padded-on-the-right",
            "ids[row, padding[row] :] = prompt.ids",
            "ids[row, : len(prompt.ids)] = prompt.ids",
            "short answers continue the padding behind their prompt",
        ),
        (
            "one-end-token",
            "sorted(resident.end_tokens)",
            "sorted(resident.end_tokens)[:1]",
            "answers run on behind the end of the turn",
        ),
        (
            "truncated-by-length",
            "truncated=ids[-1] not in finished",
            "truncated=len(ids) == steps",
            "an answer that ends on its last token is punished as cut",
        ),
        (
            "answers-by-length",
            "for i in range(len(prompts)) for answer",
            "for i in order for answer",
            "answers are given to other prompts",
        ),
    ),
)
