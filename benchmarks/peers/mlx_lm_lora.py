"""mlx-lm-lora's GRPO iteration: its trainer in fp32, the reward being the answer's length in characters.

ALIGN_BLAS=off leaves MLX's own BLAS in place, as installed; without it MLX uses the BLAS that ours uses.
"""

import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BLAS = runpy.run_path(str(ROOT / "packages/align-mlx/src/align_mlx/blas.py"))["load"]()  # before mlx.core

import mlx.core as mx  # noqa: E402
import mlx.optimizers as optim  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm import load  # noqa: E402
from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: E402
from mlx_lm_lora.trainer import grpo_trainer  # noqa: E402

from peers.protocol import Turns, Work, make_prompts  # noqa: E402


def reward(completions: list[str], **_: Any) -> list[float]:
    """Give rewards that differ."""
    return [len(text) / 100 for text in completions]


def main() -> None:
    """Take turns until the driver ends them."""
    work, turns = Work.given(), Turns()
    (model, tokenizer), (reference, _) = load(work.model), load(work.model)
    for copy in (model, reference):
        copy.set_dtype(mx.float32)
        copy.freeze()
    linear_to_lora_layers(model, len(model.layers), {"rank": work.rank, "scale": 2.0, "dropout": 0.0})
    trained = sum(array.size for _, array in tree_flatten(model.trainable_parameters()))
    tokenizer.eos_token_ids = []
    rows = []
    for text in make_prompts(work.prompts):
        messages = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        rows.append((ids, [0], text, "", None))
    sizes = [0]

    def sample(*args: Any, **named: Any) -> Any:
        found = generate(*args, **named)
        sizes[:] = [answer.size for answer in found[0]]
        return found

    def batches(*args: Any, **named: Any) -> Iterator[Any]:
        for batch in grpo_trainer.iterate_grpo_batches(*args, **named):
            turns.begin()
            yield batch  # the trainer comes back when the iteration is done and evaluated
            turns.end(trained=trained, new_tokens=sum(sizes) / len(sizes), blas=BLAS)

    generate, grpo_trainer.generate_grpo = grpo_trainer.generate_grpo, turns.timed("sampling", sample)
    args = grpo_trainer.GRPOTrainingArgs(
        batch_size=work.prompts,
        group_size=work.answers,
        max_completion_length=work.new_tokens,
        iters=10**6,
        steps_per_report=10**6,
        steps_per_eval=10**9,
        steps_per_save=10**9,
        val_batches=0,
        max_seq_length=512,
        adapter_file=f"{tempfile.mkdtemp()}/adapters.safetensors",
        grad_checkpoint=False,
        beta=0.01,
        epsilon=0.2,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
    )
    grpo_trainer.train_grpo(
        model,
        reference,
        tokenizer,
        optim.Adam(5e-6),
        rows,
        None,
        reward_funcs=[reward],
        args=args,
        iterate_batches=batches,
        end_answer_token="",
    )


if __name__ == "__main__":
    main()
