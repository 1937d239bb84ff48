from itertools import islice

import mlx.core as mx

from align_sft.corpus import batches, padded


def test_batches_hold_every_line_once_a_pass():
    lines = [[2, *[i] * 5, 1] if i % 2 else [2, *[i] * 20, 1] for i in range(16)]
    drawn = batches(lines, 64, mx.random.key(0))
    seen: list[int] = []
    for numbers in islice(drawn, 2 * (8 // 8 + 8 // 2)):
        lengths = {len(lines[i]) for i in numbers}
        assert (len(numbers), lengths) in ((8, {7}), (2, {22}))  # at most 64 tokens, padded to 8 and 24
        seen += numbers
    assert sorted(seen[:16]) == sorted(seen[16:]) == list(range(16))
    assert seen[:16] != seen[16:]


def test_the_key_alone_decides_the_order():
    lines = [[2] * (3 + i % 7) for i in range(50)]
    first, again, other = (list(islice(batches(lines, 24, mx.random.key(k)), 40)) for k in (1, 1, 2))
    assert first == again != other


def test_lines_are_padded_to_a_multiple_of_four():
    tokens_BL, lengths_B = padded([[2, 7, 1], [2, 1], [2, 9, 9, 9, 1]], [2, 0])
    assert tokens_BL.tolist() == [[2, 9, 9, 9, 1, 0, 0, 0], [2, 7, 1, 0, 0, 0, 0, 0]]
    assert lengths_B.tolist() == [5, 3]
