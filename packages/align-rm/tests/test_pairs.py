import numpy as np

from align_mlx.batching import bucket
from align_mlx.chat import Tokens
from align_mlx.reward import Scorer
from align_rm.objective import zero_head
from align_rm.pairs import Pair, encode_pairs, micro_batches, score_pairs


def make(*widths):
    return [Pair(str(i), Tokens((2,), (9,) * (w - 1)), Tokens((2,), (5,)), 1.0) for i, w in enumerate(widths)]


def test_pairs_in_ids(resident, make_pairs):
    row = {**make_pairs(1, 1)[0], "prompt": "w0", "chosen": "kind w1", "rejected": "rude"}
    pair = encode_pairs([row], resident, 64).kept[0]
    # <bos> <start_of_turn> user \n w0 <end_of_turn> \n <start_of_turn> model \n
    assert pair.chosen.prompt == pair.rejected.prompt == (2, 4, 7, 6, 11, 5, 6, 4, 8, 6)
    assert pair.chosen.response == (9, 12, 5)
    assert pair.rejected.response == (10, 5)
    assert pair.width == 13
    assert pair.gap == row["score_chosen"] - row["score_rejected"]


def test_a_pair_stays_only_if_both_answers_fit(resident, make_pairs):
    row = {**make_pairs(1, 1)[0], "prompt": "w0", "chosen": "kind w1", "rejected": "rude"}
    silent = [{**row, "chosen": "  "}, {**row, "rejected": "<eos> w1"}]  # nothing before the first end token
    rows = [row, {**row, "rejected": "rude " * 9}, *silent]
    found = encode_pairs(rows, resident, 13)
    assert (len(found.kept), found.too_long, found.empty) == (1, 1, 2)


def test_micro_batches_keep_pairs_whole_and_the_budget():
    pairs = make(5, 40, 16, 17, 30, 2)
    groups = list(micro_batches(pairs, 128))
    assert sorted(p.prompt_id for g in groups for p in g) == [p.prompt_id for p in pairs]
    for group in groups:
        assert 2 * len(group) * bucket(max(p.width for p in group)) <= 128
    # by width 2, 5, 16 | 17, 30 | 40: 2 · 3 · 16 = 96, 2 · 2 · 32 = 128, 2 · 48 = 96
    assert [[p.width for p in g] for g in groups] == [[2, 5, 16], [17, 30], [40]]
    assert [len(g) for g in micro_batches(pairs, 1)] == [1] * 6


def test_scores_come_back_in_order(resident, make_pairs):
    pairs = encode_pairs(make_pairs(9, 6), resident, 64).kept
    head = zero_head(32)
    head["weight"] = head["weight"] + 0.5
    from align_mlx import adapters as lora

    scorer = Scorer(resident, lora.Adapter({}), head, token_budget=64)
    chosen, rejected = score_pairs(scorer, pairs)
    alone = [score_pairs(scorer, [pair]) for pair in pairs]
    np.testing.assert_allclose(chosen, [c[0] for c, _ in alone], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rejected, [r[0] for _, r in alone], rtol=1e-4, atol=1e-5)
    assert len(set(chosen.tolist())) > 1
