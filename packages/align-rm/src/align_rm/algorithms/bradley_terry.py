"""The Bradley-Terry loss on score margins.

P(chosen preferred) = σ(r_chosen − r_rejected). Sources: Bradley & Terry, Biometrika 39 (1952); Ouyang et al.,
arXiv 2203.02155, equation 1; margin: Touvron et al., arXiv 2307.09288, equation 2; centering: Eisenstein et al.,
arXiv 2312.09244, equation 6.
"""

import mlx.core as mx
import numpy as np


def log_sigmoid(x: mx.array) -> mx.array:
    """Give log σ(x) = −log(e^0 + e^−x), which neither overflows nor loses small values.

    Not min(x, 0) − log(1 + e^−|x|): its gradient by automatic differentiation is 0 at x = 0, exactly where a
    zero-initialised reward head starts, and nothing would ever be learned.

    Args:
        x: any shape, fp32.
    """
    return -mx.logaddexp(mx.zeros_like(x), -x)


def pair_losses(
    chosen_B: mx.array,
    rejected_B: mx.array,
    gaps_B: mx.array,
    *,
    margin: float = 0.0,
    centering: float = 0.0,
) -> mx.array:
    """Give each pair's loss −log σ(r_c − r_r − margin · gap) + centering · (r_c + r_r)².

    Args:
        chosen_B: fp32 raw scores of the preferred answers.
        rejected_B: fp32 raw scores of the other answers.
        gaps_B: fp32 differences of the data's own scores (chosen − rejected).
        margin: how much of the gap the scores must differ by; 0 is the plain loss.
        centering: pulls the mean score of a pair to 0, which the plain loss leaves free.

    Returns:
        fp32 losses [B], nats.

    Raises:
        ValueError: the shapes differ.
    """
    if not chosen_B.shape == rejected_B.shape == gaps_B.shape:
        raise ValueError(f"expected equal shapes, got {chosen_B.shape}, {rejected_B.shape} and {gaps_B.shape}")
    losses_B = -log_sigmoid(chosen_B - rejected_B - margin * gaps_B)
    return losses_B + centering * mx.square(chosen_B + rejected_B) if centering else losses_B


def pairwise_accuracy(margins_N: np.ndarray) -> float:
    """Give the share of pairs whose chosen answer scores higher; an equal score counts one half.

    Args:
        margins_N: r_chosen − r_rejected of each pair; at least one.
    """
    if len(margins_N) == 0:
        raise ValueError("pairwise accuracy: expected at least one pair, got none")
    return float(np.mean(margins_N > 0) + 0.5 * np.mean(margins_N == 0))
