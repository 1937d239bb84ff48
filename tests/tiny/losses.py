"""A method's loss as one function, where a test asks about the whole."""

import mlx.core as mx


def whole_loss(method, params, part, weights_BT):
    """Give the sum of the parts of a method's loss, and the facts of all of them."""
    parts = [loss(params, part, weights_BT) for loss in method.losses.values()]
    facts = {name: fact for _, some in parts for name, fact in some.items()}
    return sum((loss for loss, _ in parts), mx.array(0.0)), facts
