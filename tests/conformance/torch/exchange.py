"""What the two sides tell each other, as files: NumPy, JSON and safetensors only, so that both can import it.

A run is a folder with ``rows.json`` (token ids, the same for every case) and one folder a case::

    CASE/case.json            the `Case`
    CASE/model/               config.json, model.safetensors and tokenizer, as transformers and mlx-lm read them
    CASE/adapter.safetensors  LoRA maps A [in, r] and B [r, out], their factor in the metadata
    CASE/given.safetensors    what else both start from: old log-probs [B, T], the reward head [1, D]
    CASE/ours.safetensors     our numbers by quantity; a gradient is one array a tensor: ``SFT gradient/NAME``
    CASE/theirs.safetensors   theirs, under the same names, in fp32
    CASE/rounded.safetensors  theirs in the case's number format, where that is another: the yardstick of rounding

The settings below are those of both sides.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

TEMPERATURE = 0.7
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
MARGIN, CENTERING = 0.5, 0.01
GROUP = 4
MAX_RESPONSE = 32
SCALES = ("none", "group", "batch")
LOSS_TYPES = ("grpo", "dapo", "dr_grpo", "gspo")

Numbers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One model in one form.

    Attributes:
        name: of the case, and of its folder.
        dtype: what is computed in, ``float32`` or ``bfloat16``.
        bits: 4 where the matrices are stored in 4 bits, else 0.
        dense: whether our side makes 4-bit matrices dense before it computes.
    """

    name: str
    dtype: str = "float32"
    bits: int = 0
    dense: bool = True

    @property
    def whole(self) -> bool:
        """Whether everything is compared; in other formats than plain fp32 only log-probs and SFT are."""
        return self.dtype == "float32" and not self.bits


@dataclass(frozen=True)
class Rows:
    """Token ids of B answers, `GROUP` to a prompt, and what goes with them.

    Attributes:
        prompts, responses: ids of each answer's prompt, and of the answer.
        rewards: one an answer; those of the last group are all equal.
        gaps: score gaps of B/2 pairs; pair i prefers answer 2i to answer 2i + 1.
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    rewards: list[float]
    gaps: list[float]

    @property
    def mask_BT(self) -> np.ndarray:
        """True for the real tokens of answers padded on the right."""
        lengths = np.array([len(r) for r in self.responses])
        return np.arange(lengths.max()) < lengths[:, None]


def write_rows(run: Path, rows: Rows) -> None:
    (run / "rows.json").write_text(json.dumps(asdict(rows)))


def read_rows(run: Path) -> Rows:
    return Rows(**json.loads((run / "rows.json").read_text()))


def write_case(folder: Path, case: Case) -> None:
    (folder / "case.json").write_text(json.dumps(asdict(case)))


def read_cases(run: Path) -> list[tuple[Path, Case]]:
    """Give the folders and the cases of a run, in the order in which they were made."""
    files = sorted(run.glob("*/case.json"), key=lambda file: file.stat().st_mtime_ns)
    return [(file.parent, Case(**json.loads(file.read_text()))) for file in files]


def write(path: Path, numbers: Numbers) -> None:
    save_file({name: np.array(value, order="C") for name, value in numbers.items()}, path)


def read(path: Path) -> Numbers:
    return load_file(path)
