"""TRL's GRPO iteration: its trainer, the reward being the answer's length in characters.

On CUDA as one would set it up there: weights and autocast in bf16, PyTorch's fused attention, no gradient
checkpointing, and no more than `Work.passes` sequences a pass, since the activations of all do not fit.
"""

import tempfile
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from peers.protocol import Turns, Work, make_prompts


class Steps(TrainerCallback):
    """A step of the trainer is a turn: answers are sampled inside it."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.lengths = turns, [0]

    def reward(self, completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        """Give rewards that differ, and note the answers' lengths in tokens."""
        self.lengths = [len(ids) for ids in completion_ids]
        return [len(turns[0]["content"]) / 100 for turns in completions]

    def on_step_begin(self, *_: Any, **__: Any) -> None:  # noqa: D102
        self.turns.begin()

    def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:  # noqa: D102
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        self.turns.end(trained=trained, new_tokens=sum(self.lengths) / len(self.lengths), device=device)


def main() -> None:
    """Take turns until the driver ends them."""
    work, turns = Work.given(), Turns()
    torch.set_num_threads(work.threads)
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in make_prompts(work.prompts, work.words)]
    batch, cuda = work.prompts * work.answers, work.device == "cuda"
    parts = batch // (work.passes or batch)
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=batch // parts,
        gradient_accumulation_steps=parts,
        steps_per_generation=parts,
        num_generations=work.answers,
        num_iterations=1,
        max_completion_length=work.new_tokens,
        generation_kwargs={"min_new_tokens": work.new_tokens},
        max_steps=10**6,
        shuffle_dataset=False,
        temperature=1.0,
        beta=0.01,
        epsilon=0.2,
        learning_rate=5e-6,
        gradient_checkpointing=False,
        use_cpu=not cuda,
        bf16=cuda,
        report_to=[],
        save_strategy="no",
    )
    steps = Steps(turns)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.bfloat16 if cuda else torch.float32),
        reward_funcs=steps.reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.model),
        peft_config=LoraConfig(
            r=work.rank, lora_alpha=2 * work.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[steps],
    )
    trainer.model.generate = turns.timed("sampling", trainer.model.generate)
    trainer.train()


if __name__ == "__main__":
    main()
