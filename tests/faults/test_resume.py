"""A few tries of the rows resume, controls and inputs: an interruption of each stage, and some wrong continuations."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from faults.rows import inputs, resume


@pytest.mark.parametrize(("row", "tries"), [(resume.run, 5), (resume.control, 5), (inputs.run, 35)])
def test_a_few_tries(tmp_path, row, tries):
    """In a fresh process: one that has computed with MLX must not fork."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        count = process.submit(row, tmp_path, tries, 5).result()
    assert (count.survived, count.tried, count.failures) == (tries, tries, ())
