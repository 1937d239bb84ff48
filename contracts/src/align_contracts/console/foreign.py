"""What flags of mlx-lm and TRL are called here, for people who come from there.

Only names that really correspond; a name that means the same here and there needs no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from align_contracts.console.suggest import plain

__all__ = ["FOREIGN", "Foreign", "foreign"]


class Foreign(NamedTuple):
    """A flag of another program.

    Attributes:
        program: Whose flag it is; several may have it.
        ours: Our settings; what a command calls it is the first of them that it has.
        remark: What else there is to know.
    """

    program: str
    ours: tuple[str, ...]
    remark: str = ""


FOREIGN = {
    "iters": Foreign("mlx-lm", ("max_steps", "num_iterations", "steps")),
    "lr": Foreign("PyTorch", ("learning_rate",)),
    "steps": Foreign("Another program", ("max_steps", "num_iterations")),
    "num_steps": Foreign("Another program", ("max_steps", "num_iterations", "steps")),
    "num_layers": Foreign("mlx-lm", ("lora_layers",)),
    "steps_per_eval": Foreign("mlx-lm", ("eval_every",)),
    "save_every": Foreign("mlx-lm", ("checkpoint_every",)),
    "grad_checkpoint": Foreign("mlx-lm", ("gradient_checkpointing",)),
    "grad_accumulation_steps": Foreign("mlx-lm", ("gradient_accumulation_steps",)),
    "adapter_path": Foreign("mlx-lm", ("out", "policy")),
    "save_path": Foreign("mlx-lm", ("out",)),
    "mlx_path": Foreign("mlx-lm", ("out",)),
    "hf_path": Foreign("mlx-lm", ("model",)),
    "q_bits": Foreign("mlx-lm", ("bits",)),
    "q_group_size": Foreign("mlx-lm", ("group_size",)),
    "model": Foreign("mlx-lm", ("base", "policy", "sft")),
    "max_tokens": Foreign("mlx-lm", ("max_new_tokens", "max_response_length")),
    "temp": Foreign("mlx-lm", ("temperature",)),
    "model_name_or_path": Foreign("TRL", ("model", "base", "sft", "policy")),
    "sft_model_path": Foreign("TRL", ("sft",)),
    "reward_model_path": Foreign("TRL", ("rm",)),
    "dataset_name": Foreign("TRL", ("source", "data")),
    "dataset_train_split": Foreign("TRL", ("train_split",)),
    "dataset_test_split": Foreign("TRL", ("test_split",)),
    "output_dir": Foreign("TRL", ("out",)),
    "overwrite_output_dir": Foreign("TRL", ("overwrite",)),
    "resume_from_checkpoint": Foreign("TRL", ("resume",)),
    "save_steps": Foreign("TRL", ("checkpoint_every",)),
    "save_total_limit": Foreign("TRL", ("keep_checkpoints",)),
    "eval_steps": Foreign("TRL", ("eval_every",)),
    "report_to": Foreign("TRL", ("track",)),
    "per_device_train_batch_size": Foreign("TRL", ("batch_size",)),
    "num_train_epochs": Foreign("TRL", ("epochs",)),
    "lr_scheduler_type": Foreign("TRL", ("schedule",)),
    "lora_r": Foreign("TRL", ("lora_rank",)),
    "lora_target_modules": Foreign("TRL", ("lora_targets",)),
    "max_length": Foreign("TRL", ("max_seq_length",)),
    "max_completion_length": Foreign("TRL", ("max_response_length",)),
    "response_length": Foreign("TRL", ("max_response_length",)),
    "center_rewards_coefficient": Foreign("TRL", ("centering",)),
    "num_generations": Foreign("TRL", ("K",)),
    "beta": Foreign("TRL", ("kl_coef",), "in the reward, not in the loss, with --controller reward_penalty"),
    "epsilon": Foreign("TRL", ("clip_range",)),
    "epsilon_high": Foreign("TRL", ("clip_range_high",)),
    "mask_truncated_completions": Foreign("TRL", ("mask_truncated",)),
    "missing_eos_penalty": Foreign("TRL", ("truncation_penalty",)),
    "num_ppo_epochs": Foreign("TRL", ("ppo_epochs",)),
    "num_mini_batches": Foreign("TRL", ("minibatches",)),
    "cliprange": Foreign("TRL", ("clip_range",)),
    "cliprange_value": Foreign("TRL", ("value_clip",)),
    "vf_coef": Foreign("TRL", ("value_coef",)),
    "gamma": Foreign("TRL", ("gae_gamma",)),
    "lam": Foreign("TRL", ("gae_lambda",)),
}
"""Flags of ``mlx_lm.lora``, ``fuse``, ``convert`` and ``generate``, of TRL's trainers, and names of
no one program; as settings are written."""


def foreign(written: str, known: Iterable[str], others: Mapping[str, Iterable[str]] | None = None) -> str | None:
    """Say what another program's flag is called here; None where it is none, or nothing here is like it.

    Args:
        written: The flag or setting as the user wrote it.
        known: The command's own, written in the same way.
        others: Those of the script's other commands, by what those are called.
    """
    found = FOREIGN.get(plain(written))
    if found is None:
        return None
    for owner, names in {"": known, **(others or {})}.items():
        named = {plain(one): one for one in names}
        for ours in found.ours:
            if (name := named.get(plain(ours))) is not None:
                where = f"of {owner}" if owner else "here"
                return f"{found.program}'s {written} is {name} {where}" + f" ({found.remark})" * bool(found.remark)
    return None
