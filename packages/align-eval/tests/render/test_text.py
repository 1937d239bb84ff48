from align_eval.render.text import duration, fixed, glued, number, p_value, plural, run_name, share, size, span, with_sd


def test_numbers_for_people():
    assert (number(0.012345), number(-1234.5), number(None), number(0.0)) == ("0.0123", "−1234", "–", "0")
    assert (fixed(-1.005, 1), span([0.1, -0.25]), span(None)) == ("−1.0", "[0.10, −0.25]", "")
    assert share(0.642, [0.585, 0.696]) == "64.2 % [58.5, 69.6]"
    assert (duration(12.34), duration(600), duration(90_000)) == ("12.3 s", "10.0 min", "25.0 h")
    assert (size(712e6), size(2.5e9), size(None)) == ("712 MB", "2.50 GB", "–")
    assert (p_value(0.0004), p_value(0.0456)) == ("< 0.001", "0.046")
    # sd 0.0077 asks for 4 decimals; 61.0 with four significant digits has 2.
    assert (with_sd(0.36748, 0.0077), with_sd(61.0, 0.0012), with_sd(5.0, 0.0)) == (
        "0.3675 ± 0.0077",
        "61.00 ± 0.00",
        "5",
    )
    assert run_name("grpo-42") == "GRPO 42"
    assert [plural(n, "seed") for n in (0, 1, 3)] == ["0 seeds", "1 seed", "3 seeds"]


def test_no_line_ends_inside_a_number():
    text = "GRPO 42 wins 60 % [58.5, 69.6] of 3 pairs, 3.0 ± 0.1 in 71 MB and 9.5 s, p 0.04, d = −0.1"
    bound = glued(text).split(" ")
    for whole in ("GRPO\u00a042", "60\u00a0%", "[58.5,\u00a069.6]", "3.0\u00a0±\u00a00.1", "71\u00a0MB", "9.5\u00a0s,"):
        assert whole in bound
    assert {"p\u00a00.04,", "d\u00a0=\u00a0−0.1", "3", "pairs,"} <= set(bound)
    assert glued(text).replace("\u00a0", " ") == text
