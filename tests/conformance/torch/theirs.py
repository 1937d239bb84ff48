"""Their side, in its own environment (PyTorch, transformers, TRL, PEFT): the same quantities of the same files.

    python theirs.py RUN        RUN is the folder that ours.py has filled

Losses are those of the trainers themselves: TRL's `RewardTrainer` and `GRPOTrainer` get prepared rows and are asked for
the loss of one step; nothing of them is written anew here.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}

import numpy as np
import torch
from datasets import Dataset
from exchange import (
    CENTERING,
    CLIP_HIGH,
    CLIP_LOW,
    GROUP,
    LOSS_TYPES,
    MARGIN,
    MAX_RESPONSE,
    SCALES,
    TEMPERATURE,
    Numbers,
    Rows,
    read,
    read_cases,
    read_rows,
    write,
)
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TRAINER: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
}


def main(run: Path) -> None:
    torch.set_num_threads(1)  # models this small gain nothing by more, and lose much where cores are busy
    rows = read_rows(run)
    for folder, case in read_cases(run):
        if not (folder / "model").exists():
            continue  # not theirs: what ours.py held against the float64 reference
        with tempfile.TemporaryDirectory() as scratch:
            model = dequantized(folder / "model", Path(scratch)) if case.bits else folder / "model"
            numbers = language_model(model, torch.float32, folder, rows)
            if case.dtype != "float32":  # how far this format alone is from fp32
                write(folder / "rounded.safetensors", language_model(model, DTYPES[case.dtype], folder, rows))
            if case.whole:
                given = read(folder / "given.safetensors")
                numbers |= reward_model(model, folder, rows, given["head"])
                numbers |= grpo(model, folder, rows, given["old_logprobs_BT"])
        write(folder / "theirs.safetensors", numbers)
        print(f"theirs: {case.name}", file=sys.stderr)


def language_model(model: Path, dtype: torch.dtype, folder: Path, rows: Rows) -> Numbers:
    worn = get_peft_model(causal(model, dtype), adapter_config(folder))
    fill(worn, folder)
    return {**likelihoods(worn, rows), **sft(worn, rows)}


def causal(model: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(model, dtype=dtype, attn_implementation="eager")


def dequantized(model: Path, scratch: Path) -> Path:
    """Copy a model stored in 4 bits with dense weights: 8 codes to a 32-bit word, w = scale · code + bias by groups."""
    config = json.loads((model / "config.json").read_text())
    bits, size = config["quantization"]["bits"], config.pop("quantization")["group_size"]
    stored = load_file(model / "model.safetensors")
    dense = {}
    for name, value in stored.items():
        part = name.rpartition(".")[0]
        if f"{part}.scales" not in stored:
            dense[name] = value.float()
        elif name.endswith(".weight"):
            words = value.to(torch.int64)[..., None]
            codes = (words >> torch.arange(0, 32, bits)) & (2**bits - 1)
            groups = codes.float().reshape(value.shape[0], -1, size)
            scales, biases = (stored[f"{part}.{k}"].float()[..., None] for k in ("scales", "biases"))
            dense[name] = (scales * groups + biases).reshape(value.shape[0], -1)
    folder = scratch / "dense"
    shutil.copytree(model, folder)
    save_file(dense, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def adapter_config(folder: Path, **options: Any) -> LoraConfig:
    """PEFT's config of the case's adapter."""
    arrays, scale = adapter(folder)
    rank = next(a.shape[1] for name, a in arrays.items() if name.endswith("lora_a"))
    targets = sorted({name.split(".")[-2] for name in arrays})
    return LoraConfig(r=rank, lora_alpha=scale * rank, lora_dropout=0.0, target_modules=targets, **options)


def adapter(folder: Path) -> tuple[Numbers, float]:
    """The case's A and B by name, and the factor of their product."""
    with safe_open(folder / "adapter.safetensors", "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, float(file.metadata()["scale"])  # noqa: SIM118


def fill(model: PeftModel, folder: Path) -> None:
    """Give a model's adapter the case's numbers: PEFT's A and B are the transposes of ours."""
    arrays, parameters = adapter(folder)[0], lora_parameters(model)
    if parameters.keys() != arrays.keys():
        raise ValueError(f"expected LoRA on {sorted(arrays)}, got {sorted(parameters)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(arrays[name]).T)


def lora_parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters under our names: ``model.layers.0.self_attn.q_proj.lora_a``."""
    renamed = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            path, _, letter = name.removeprefix("base_model.model.").replace(".default.weight", "").rpartition(".lora_")
            renamed[f"{path}.lora_{letter.lower()}"] = parameter
    return renamed


def gradients(quantity: str, model: PeftModel, loss: torch.Tensor) -> Numbers:
    """Give the loss's gradient by our names, in our layout [in, r] and [r, out]."""
    model.zero_grad()
    loss.backward()
    return {f"{quantity}/{k}": p.grad.T.float().numpy() for k, p in lora_parameters(model).items()}


def padded(rows: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and attention mask padded on the right, and labels that hide prompt and padding."""
    length = max(len(p) + len(r) for p, r in zip(rows.prompts, rows.responses, strict=True))
    ids, mask = (torch.zeros(len(rows.prompts), length, dtype=torch.long) for _ in range(2))
    labels = torch.full_like(ids, -100)
    for i, (prompt, response) in enumerate(zip(rows.prompts, rows.responses, strict=True)):
        end = len(prompt) + len(response)
        ids[i, :end] = torch.tensor(prompt + response)
        labels[i, len(prompt) : end] = ids[i, len(prompt) : end]
        mask[i, :end] = 1
    return ids, mask, labels


def likelihoods(model: PeftModel, rows: Rows) -> Numbers:
    """Log-softmax in fp32 of the logits before each answer token."""
    ids, mask, labels = padded(rows)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1][labels[:, 1:] != -100].float()
    targets = labels[:, 1:][labels[:, 1:] != -100]
    numbers = {}
    for suffix, temperature in (("", 1.0), (f", T = {TEMPERATURE}", TEMPERATURE)):
        logp = torch.log_softmax(logits / temperature, dim=-1)
        numbers[f"log-probs{suffix}"] = logp.gather(1, targets[:, None])[:, 0].numpy()
        numbers[f"entropies{suffix}"] = -(logp.exp() * logp).sum(-1).numpy()
    return numbers


def sft(model: PeftModel, rows: Rows) -> Numbers:
    """The model's own loss: the mean over all labels of the batch."""
    ids, mask, labels = padded(rows)
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    return {"SFT loss": np.array([loss.item()]), **gradients("SFT gradient", model, loss)}


def reward_model(model: Path, folder: Path, rows: Rows, head: np.ndarray) -> Numbers:
    base = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=torch.float32, attn_implementation="eager"
    )
    answers = [p + r for p, r in zip(rows.prompts, rows.responses, strict=True)]
    data = Dataset.from_dict(
        {"chosen_ids": answers[::2], "rejected_ids": answers[1::2], "margin": [MARGIN * gap for gap in rows.gaps]}
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = RewardTrainer(
            base,
            RewardConfig(scratch, center_rewards_coefficient=CENTERING, **TRAINER),
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=adapter_config(folder, task_type="SEQ_CLS", modules_to_save=["score"]),
        )
    worn = trainer.model
    fill(worn, folder)
    score = worn.get_parameter("base_model.model.score.modules_to_save.default.weight")
    with torch.no_grad():
        score.copy_(torch.from_numpy(head))
    inputs = trainer.data_collator(list(trainer.train_dataset))
    loss, outputs = trainer.compute_loss(worn, inputs, return_outputs=True)
    scores = outputs.logits.detach().reshape(2, -1).T.reshape(-1).numpy()  # chosen, rejected, chosen, … as the rows are
    numbers = {"RM scores": scores, "BT loss": np.array([loss.item()]), **gradients("BT gradient", worn, loss)}
    numbers["BT gradient/head.weight"] = score.grad.numpy()
    return numbers


def grpo(model: Path, folder: Path, rows: Rows, old_logprobs_BT: np.ndarray) -> Numbers:
    """Let TRL score the rows and take its loss of each type.

    The rows enter where sampled answers do (`rollout_func`), and rewards by a reward function, so advantages, masks,
    token counts and reference log-probs (adapter off) are TRL's own. Only the old log-probs are replaced.
    """
    with tempfile.TemporaryDirectory() as scratch:
        trainer = GRPOTrainer(
            causal(model),
            reward_funcs=lambda reward, **_: reward,
            args=GRPOConfig(
                scratch,
                per_device_train_batch_size=len(rows.prompts),
                num_generations=GROUP,
                max_completion_length=MAX_RESPONSE,
                temperature=TEMPERATURE,
                epsilon=CLIP_LOW,
                epsilon_high=CLIP_HIGH,
                beta=0.04,  # any but 0: only then are reference log-probs taken
                use_bias_correction_kl=False,  # its default multiplies k3 by the ratio (DeepSeek-V3.2)
                **TRAINER,
            ),
            train_dataset=Dataset.from_dict({"prompt": ["one"]}),
            processing_class=AutoTokenizer.from_pretrained(model),
            rollout_func=lambda prompts, trainer: {
                "prompt_ids": rows.prompts,
                "completion_ids": rows.responses,
                "logprobs": None,
                "reward": rows.rewards,
            },
            peft_config=adapter_config(folder, task_type="CAUSAL_LM"),
        )
    worn = trainer.model
    fill(worn, folder)
    trainer.current_gradient_accumulation_steps = 1  # `train` sets it
    worn.train()
    numbers: Numbers = {}
    for scale in SCALES:
        trainer.scale_rewards = scale
        inputs = trainer._generate_and_score_completions([{"prompt": "one"} for _ in rows.prompts])
        numbers[f"advantages, {scale}"] = inputs["advantages"].numpy()
        if scale == "none":
            batch = inputs
    steps = batch["completion_ids"].shape[1]
    batch["old_per_token_logps"] = torch.from_numpy(old_logprobs_BT)[:, :steps]
    trainer.compute_loss(worn, batch)
    numbers["mean k3"] = np.array([trainer._metrics["train"]["kl"][-1]])
    trainer.beta = 0.0  # our GRPO holds KL from outside
    for loss_type in LOSS_TYPES:
        # GSPO is TRL's per-answer mean with the ratio of sequences.
        trainer.loss_type = "grpo" if loss_type == "gspo" else loss_type
        trainer.importance_sampling_level = "sequence" if loss_type == "gspo" else "token"
        loss = trainer.compute_loss(worn, batch)
        numbers[f"{loss_type} loss"] = np.array([loss.item()])
        numbers |= gradients(f"{loss_type} gradient", worn, loss)
    return numbers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
