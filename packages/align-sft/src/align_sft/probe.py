"""What one row of an SFT step gives by itself, measured once something was not finite."""

from collections.abc import Callable, Sequence

from align_mlx.adapters import Adapter, Params
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.guard import Figures, largest_logit, norm
from align_mlx.prefix import states
from align_mlx.resident import Resident
from align_sft.gradient import make_gradient


def make_probe(resident: Resident, scale: float, params: Params, rows: Sequence[Tokens]) -> Callable[[int], Figures]:
    """Give the function place → {tokens, loss (nats a token), gradient_norm (of that loss), largest_logit}.

    Args:
        resident: the base.
        scale: the adapter's factor.
        params: the adapter's arrays.
        rows: the rows of the step.
    """
    gradient = make_gradient(resident, scale, compiled=False)

    def probe(i: int) -> Figures:
        row = rows[i]
        batch, tokens = pad([row], share=False), len(row.response)
        nll, grads = gradient(params, batch.tokens_BL, batch.starts_B, batch.mask_BT)
        before_BTD = states(resident, batch, (Adapter(params, scale),))[:, :tokens]
        return {
            "tokens": tokens,
            "loss": float(nll.item()) / tokens,
            "gradient_norm": norm(grads) / tokens,
            "largest_logit": largest_logit(resident, before_BTD),
        }

    return probe
