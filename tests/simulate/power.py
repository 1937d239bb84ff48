"""How often a true difference is found, beside what the planner predicts."""

from __future__ import annotations

import numpy as np

from align_eval.algorithms.crossed import contrast
from align_eval.algorithms.difference_power import Design, power_of_difference
from simulate.world import CATEGORIES, World, draw


def powers(world: World, studies: int, key: int) -> tuple[float, float]:
    """Predicted power, and the share of simulated studies whose primary interval leaves 0 out."""
    design = Design((world.seeds, world.seeds), world.prompts, CATEGORIES)
    predicted = power_of_difference(world.difference, design, world.variances())
    found = []
    for chunk in draw(world, studies, key):
        low, high = contrast(chunk.wins, (1.0, -1.0), world.strata_P).interval()
        found.append((low > 0.0) | (high < 0.0))
    return predicted, float(np.concatenate(found).mean())
