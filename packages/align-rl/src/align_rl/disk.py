"""How much disk a run takes while it lasts and when it is published."""

from align_contracts import Artifact
from align_mlx.space import training_parts
from align_rl.methods.actor import actor_adapter
from align_rl.prepare import Ready

TOKEN_BYTES = 80
"""Of a response token in JSON: its id, its part of the text, and up to six numbers of some ten characters."""
COPIES = 2
"""Evaluation points lie in the run folder and, from publication on until it is removed, in the artifact."""


def parts(ready: Ready, sft: Artifact) -> dict[str, int]:
    """Give the bytes of what a run writes, by what they are for.

    Args:
        ready: the run.
        sft: the policy whose adapters the artifact has copies of.
    """
    config = ready.config
    points = 1 + -(-config.num_iterations // config.eval_every)
    policy = sum(value.nbytes for value in actor_adapter(ready.state.params, config).params.values())
    answers = len(ready.rows.validation) * config.max_response_length * TOKEN_BYTES
    copied = sum(sft.file(record.role).stat().st_size for record in sft.manifest.files if "adapter" in record.role)
    return {
        **training_parts(ready.state, config, best=True),
        f"{points} evaluation points": COPIES * points * (policy // 2 + answers),  # bf16
        "the SFT adapter": copied,
    }
