import numpy as np
import pytest

from align_mlx import batching
from align_mlx.batching import padded_size
from align_mlx.chat import Tokens
from align_mlx.reward import Scorer
from align_rm.objective import zero_head
from align_rm.pairs import Pair, encode_pairs, micro_batches, rows_of, score_pairs


def make(*widths, prompt=1):
    """Pairs whose longer answer ends at these widths; each pair has a prompt of its own."""
    prompts = [(10 + i,) * prompt for i in range(len(widths))]
    return [
        Pair(str(i), Tokens(p, (9,) * (w - prompt)), Tokens(p, (5,)), 1.0)
        for i, (p, w) in enumerate(zip(prompts, widths, strict=True))
    ]


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
    silent = [{**row, "chosen": "  "}, {**row, "rejected": ""}]
    control = [{**row, "prompt": "w0 <bos>"}, {**row, "chosen": "kind <eos> w1"}, {**row, "rejected": "<end_of_turn>"}]
    rows = [row, {**row, "rejected": "rude " * 9}, *silent, *control]
    found = encode_pairs(rows, resident, 13)
    assert len(found.kept) == 1
    assert found.dropped == {"too_long": 1, "empty": 2, "special": 3}


@pytest.fixture
def sixteens(monkeypatch):
    """Buckets of 16 tokens, as on a GPU."""
    monkeypatch.setattr(batching, "backend", lambda: "cuda")


@pytest.mark.usefixtures("sixteens")
def test_micro_batches_keep_pairs_whole_and_the_budget():
    pairs = make(5, 40, 16, 17, 30, 2)
    groups = list(micro_batches(pairs, 128))
    assert sorted(p.prompt_id for g in groups for p in g) == [p.prompt_id for p in pairs]
    assert all(padded_size(rows_of(group)) <= 128 for group in groups)
    # By width 2, 5, 16 | 17, 30 | 40: six rows of 16 tokens, four of 32; two of 48, or a prompt of 16 and two of 48.
    assert [[p.width for p in g] for g in groups] == [[2, 5, 16], [17, 30], [40]]
    assert [len(g) for g in micro_batches(pairs, 1)] == [1] * 6


@pytest.mark.usefixtures("sixteens")
def test_micro_batches_count_a_shared_prompt_once():
    # Prompts of 48 tokens, answers of up to 16: a pair is 48 + 2 · 16 = 80 tokens, not 2 · 64 = 128.
    pairs = make(60, 50, 64, 55, prompt=48)
    assert [[p.width for p in g] for g in micro_batches(pairs, 160)] == [[50, 55], [60, 64]]
    assert [len(g) for g in micro_batches(pairs, 159)] == [1] * 4
    assert [len(g) for g in micro_batches(pairs, 320)] == [4]


def test_rows_of_pairs_are_the_chosen_and_then_the_rejected():
    pairs = make(3, 4)
    assert rows_of(pairs) == [pairs[0].chosen, pairs[1].chosen, pairs[0].rejected, pairs[1].rejected]


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
