"""Holding KL(actor ‖ reference) near a target from outside the loss.

Modes: ``lr`` lowers the learning rate while KL is above the target and lets it recover below; ``stop`` skips
updates while KL is above; both are the seed's and neither can bring KL down once the target has shrunk below it.
``pullback`` scales the policy adapter by c < 1; ``reward_penalty`` subtracts kl_coef · KL from the reward and
adapts kl_coef. Adaptive coefficient: Ziegler et al., arXiv 1909.08593, section 2.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["none", "lr", "stop", "pullback", "reward_penalty"]


def phased_target(targets: Sequence[float], iteration: int, iterations: int) -> float:
    """Give the KL target of an iteration: the run is cut into equal phases, one for each target."""
    phase = min(iteration * len(targets) // max(iterations, 1), len(targets) - 1)
    return targets[phase]


@dataclass(frozen=True)
class Control:
    """What the controller carries on and decides.

    Attributes:
        lr_scale: factor on the learning rate, in [floor, 1].
        kl_coef: weight of the KL penalty in the reward (``reward_penalty`` only).
        shrink: factor on the policy adapter now (``pullback`` only; 1 = leave it).
        stop: skip this iteration's updates (``stop`` only).
        actions: how often the controller acted so far.
    """

    lr_scale: float = 1.0
    kl_coef: float = 0.0
    shrink: float = 1.0
    stop: bool = False
    actions: int = 0


def control(
    mode: Mode, state: Control, kl: float, target: float, *, factor: float = 1.5, floor: float = 0.01
) -> Control:
    """Decide what to do about a measured KL.

    Args:
        mode: one of the modes above.
        state: the previous decision.
        kl: KL(actor ‖ reference) in nats per response token.
        target: where it should be.
        factor: how much the learning rate changes in one step (``lr``).
        floor: lowest ``lr_scale``.

    Returns:
        The new decision; ``actions`` grows by one where it differs from doing nothing.
    """
    above = kl > target
    if mode == "lr":
        scale = max(floor, state.lr_scale / factor) if above else min(1.0, state.lr_scale * factor)
        return Control(lr_scale=scale, actions=state.actions + above)
    if mode == "stop":
        return Control(stop=above, actions=state.actions + above)
    if mode == "pullback":
        # KL grows with the square of the adapter's strength, so its root is the factor that meets the target.
        shrink = max(0.5, (target / kl) ** 0.5) if above else 1.0
        return Control(shrink=shrink, actions=state.actions + above)
    if mode == "reward_penalty":
        error = max(-0.2, min(0.2, kl / target - 1.0))
        return Control(kl_coef=state.kl_coef * (1.0 + 0.1 * error), actions=state.actions + above)
    return state
