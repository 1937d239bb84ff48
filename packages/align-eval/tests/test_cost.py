import pytest

from align_eval.judges.cost import Price, estimate, likely_tokens, most_tokens, price_of


def test_price_of_a_call():
    # 1000 tokens at 0.15 and 100 at 0.60 USD a million: 0.00015 + 0.00006.
    assert Price(0.15, 0.60).of(1000, 100) == pytest.approx(0.00021)


def test_list_price_only_at_openai_and_flags_win():
    assert price_of("gpt-4o-mini", None, None, is_openai=True) == Price(0.15, 0.60)
    assert price_of("gpt-4o-mini", None, None, is_openai=False) is None
    assert price_of("gpt-4o-mini", 1.0, None, is_openai=True) == Price(1.0, 0.60)
    assert price_of("other", 1.0, None, is_openai=True) is None
    assert price_of("own", 0.0, 0.0, is_openai=False) == Price(0.0, 0.0)


def test_the_bound_counts_bytes():
    # "é" is two bytes, so never more than two byte-level tokens; the schema is read too.
    assert most_tokens({"text": "é" * 100}) - most_tokens({"text": ""}) == 200
    assert most_tokens({"text": "", "schema": "x" * 50}) - most_tokens({"text": ""}) > 50
    assert likely_tokens("abcd" * 10) - likely_tokens("") == 10


def test_estimate_sums_over_questions():
    guess = estimate(["a" * 400] * 3, 300, Price(1.0, 1.0))
    # 3 × (100 + 64) read, 3 × 100 written.
    assert (guess.questions, guess.tokens_read, guess.tokens_written) == (3, 492, 300)
    assert guess.usd == pytest.approx(792e-6)
    assert estimate([], 300, None).usd is None
