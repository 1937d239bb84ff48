import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from ctypes import c_float
from functools import partial
from multiprocessing.sharedctypes import RawArray

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model

from align_contracts.errors import IncompleteError
from align_sft import embedded
from align_sft.config import BaseConfig
from align_sft.crew import Crew, flat, gradient_of, unflat
from align_sft.tokenizer import train_tokenizer

ROWS = [[2, 7, 9, 1, 0, 0, 0, 0], [2, 8, 1, 0, 0, 0, 0, 0], [2, 5, 6, 7, 8, 9, 10, 1], [2, 1, 0, 0, 0, 0, 0, 0]]
LENGTHS = [4, 3, 8, 2]


@pytest.fixture
def model(base_config):
    tokenizer = train_tokenizer(["the fox is red."] * 20, 192)
    config = BaseConfig(embedded=True, data="d", out="o", **base_config)
    return embedded.build(embedded.gemma_config(config, tokenizer), mx.random.key(5))


def crew_of(model, processes):
    return Crew(model, partial(Model, model.args), embedded.next_token_loss, processes)


def test_what_is_shared_comes_back():
    params = {"b": mx.array([[1.0, 2.0], [3.0, 4.0]]), "a": mx.array([5.0])}
    shared = RawArray(c_float, 5)
    flat(params, shared)
    assert list(shared) == [5, 1, 2, 3, 4]
    back = unflat(shared, params)
    flat({name: 0 * array for name, array in params.items()}, shared)  # what was read is a copy
    assert back.keys() == params.keys()
    assert all(mx.array_equal(back[name], params[name]) for name in params)


def test_a_gradient_is_the_same_however_many_compute_it(model):
    """Of the mean over all 13 predicted tokens (3 + 2 + 7 + 1): parts of unequal length do not weigh the same."""
    params, batch = dict(tree_flatten(model.parameters())), (mx.array(ROWS), mx.array(LENGTHS))
    whole, first = (embedded.next_token_loss(model, *(array[:n] for array in batch)).item() for n in (4, 1))
    with crew_of(model, 1) as alone:
        value, grads = alone.gradient(params, *batch)
    assert value.item() == pytest.approx(whole, rel=1e-6)
    with crew_of(model, 3) as crew:  # parts of 2, 1 and 1 rows
        found = [crew.gradient(params, *batch) for _ in range(2)]
        few = crew.gradient(params, batch[0][:1], batch[1][:1])  # fewer rows than processes
    for name in grads:  # the first time by this process alone: the same to the last bit
        np.testing.assert_array_equal(found[0][1][name], found[1][1][name])
        np.testing.assert_allclose(found[1][1][name], grads[name], rtol=1e-4, atol=1e-6)
    assert found[0][0].item() == found[1][0].item() == pytest.approx(whole, rel=1e-6)
    assert few[0].item() == pytest.approx(first, rel=1e-6)


def test_a_helper_computes_as_this_process_does(model):
    """To the last bit: the same BLAS and kernels."""
    params, batch = dict(tree_flatten(model.parameters())), (mx.array(ROWS), mx.array(LENGTHS))
    with crew_of(model, 2) as crew:  # rows 3 and 4, of 8 of the 13 predicted tokens, are the helper's
        for _ in range(2):  # the first by this process alone
            crew.gradient(params, *batch)
        theirs = unflat(crew._helpers[0].gradient, params)
    _, ours = gradient_of(model, embedded.next_token_loss)(
        params, batch[0][2:], batch[1][2:], mx.array(8 / 13, mx.float32)
    )
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_helper_that_is_killed_is_one_clear_error(model):
    params, batch = dict(tree_flatten(model.parameters())), (mx.array(ROWS), mx.array(LENGTHS))
    with crew_of(model, 2) as crew:
        crew.gradient(params, *batch)
        (helper,) = multiprocessing.active_children()
        os.kill(helper.pid, signal.SIGKILL)
        helper.join()
        with pytest.raises(IncompleteError, match="a process that helps with pre-training has ended"):
            crew.gradient(params, *batch)


def test_signals_to_the_group_leave_helpers_alone(model):
    params, batch = dict(tree_flatten(model.parameters())), (mx.array(ROWS), mx.array(LENGTHS))
    with crew_of(model, 2) as crew:
        crew.gradient(params, *batch)
        before = crew.gradient(params, *batch)[0].item()
        (helper,) = multiprocessing.active_children()
        os.kill(helper.pid, signal.SIGINT)
        os.kill(helper.pid, signal.SIGTERM)
        time.sleep(0.1)
        assert crew.gradient(params, *batch)[0].item() == before
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_helper_that_is_just_starting_hears_no_signal(model, number):
    """Ctrl-C in its first second, while it still imports, would end it with a traceback."""
    params, batch = dict(tree_flatten(model.parameters())), (mx.array(ROWS), mx.array(LENGTHS))
    with crew_of(model, 2) as crew:
        (helper,) = multiprocessing.active_children()
        os.kill(helper.pid, number)
        crew.gradient(params, *batch)
        assert helper.is_alive()


def test_this_process_hears_signals_as_before(model):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *args: heard.append(args[0]))
    try:
        with crew_of(model, 2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        assert heard == [signal.SIGINT]
        assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_helper_outlives_who_asks_it():
    program = """
import multiprocessing, time
from functools import partial
from mlx import nn
from align_sft import crew, embedded
with crew.Crew(nn.Linear(2, 2), partial(nn.Linear, 2, 2), embedded.next_token_loss, 2):
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(60)
"""
    asking = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    reading = asking.stdout.fileno()
    int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    # The helper has inherited standard output: its end is the end of the pipe.
    assert select.select([reading], [], [], 60)[0]
    assert os.read(reading, 1) == b""
    asking.stdout.close()
