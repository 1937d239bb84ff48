"""SFT and merge: which tokens are learned, exact accumulation, the schedule, what a merge costs."""

from mutants.mutant import bugs

MUTANTS = (
    *bugs(
        "align_mlx/chat.py",
        "test_sft.py",
        ("end-token-left-out", "answer[: end + 1]", "answer[:end]", "the model never learns to stop"),
        (
            "prompt-in-the-loss",
            "return Tokens(start, answer[: end + 1])",
            "return Tokens(start[:1], start[1:] + answer[: end + 1])",
            "the model learns to ask",
        ),
    ),
    *bugs(
        "align_sft/gradient.py",
        "test_sft.py",
        (
            "sft-mean-of-means",
            "grads = stepping.add(grads, part)",
            "grads = stepping.add(grads, stepping.scale(part, tokens * batch_size / len(rows) / batch.mask_BT.sum()))",
            "tokens of short rows weigh more",
        ),
        ("sft-mean-by-row", "tokens = sum(len(row.response) for row in rows)", "tokens = len(rows)", "long rows rule"),
        (
            "sft-last-micro-batch-alone",
            "grads = stepping.add(grads, part)",
            "grads = part",
            "accumulation forgets",
        ),
    ),
    *bugs(
        "align_sft/rows.py",
        "test_sft.py",
        (
            "empty-rows-kept",
            "if turn.empty or not assistant.strip():",
            "if False:",
            "a batch may have no target: 0 / 0",
        ),
        ("limit-off-by-one", "len(turn) > max_seq_length", "len(turn) >= max_seq_length", "rows that fit are dropped"),
    ),
    *bugs(
        "align_mlx/steps.py",
        "test_sft.py",
        ("epochs-in-one-order", "epoch + 2)[epoch + 1]", "2)[1]", "rows come in the same order every time"),
        ("no-floor-of-the-cosine", "(0.1 + 0.9 * 0.5 *", "(0.5 *", "the last step is thrown away"),
        ("warm-up-off-by-one", "peak * (step + 1) / warmup_steps", "peak * step / warmup_steps", "a step at rate 0"),
    ),
    *bugs(
        "align_sft/merge.py",
        "test_sft.py",
        (
            "merge-kl-direction",
            "response_kl(merged, new_BSD, old_BSD, batch, reference=exact)",
            "response_kl(exact, old_BSD, new_BSD, batch, reference=merged)",
            "what the merge lost is not what is measured",
        ),
        (
            "perplexities-swapped",
            "perplexity_of(before, tokens), perplexity_of(after",
            "perplexity_of(after, tokens), perplexity_of(before",
            "a loss looks like a gain",
        ),
    ),
    *bugs(
        "align_mlx/chat.py",
        "test_sharp_edges.py",
        ("begin-token-twice", "add_special_tokens=False", "add_special_tokens=True", "prompts that nobody trained on"),
    ),
    *bugs(
        "align_sft/merge.py",
        "test_sharp_edges.py",
        ("merged-without-scale", "weight + scale * (a @ b).T", "weight + (a @ b).T", "alpha is lost in the merge"),
    ),
)
