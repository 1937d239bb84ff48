"""The study's size: UltraFeedback's columns and files, 61 135 + 2 000 rows, 10 000 of them taken."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align_contracts import open_artifact

WORDS = [f"word{i}" for i in range(5000)]


@pytest.mark.slow
def test_the_study_s_size(tmp_path: Path, raw_row) -> None:
    """Answers of some 200 words, as in UltraFeedback; every split has its size, in less than 2 GiB."""
    rng = random.Random(0)
    questions = ("What is the distance to {}?", "Translate {} into French.", "Write a poem about {}.")

    def row(i: int) -> dict:
        prompt = questions[i % 3].format(" ".join([str(i), *rng.choices(WORDS, k=40)]))
        good, bad = (" ".join(rng.choices(WORDS, k=200)) for _ in range(2))
        return raw_row(prompt, good, bad, score_chosen=rng.uniform(5, 10), score_rejected=rng.uniform(1, 4))

    (tmp_path / "prefs" / "data").mkdir(parents=True)
    for split, first, last in (("train_prefs", 0, 61_135), ("test_prefs", 61_135, 63_135)):
        file, begun = tmp_path / "prefs" / "data" / f"{split}-00000-of-00001.parquet", range(first, last, 5000)
        tables = (pa.Table.from_pylist([row(i) for i in range(start, min(start + 5000, last))]) for start in begun)
        top = next(tables)
        with pq.ParquetWriter(file, top.schema) as writer:
            for table in (top, *tables):
                writer.write_table(table)
    command = [Path(sys.executable).parent / "align-data", "build", "--source", tmp_path / "prefs", "--quiet"]
    subprocess.run([*command, "--out", tmp_path / "data"], check=True, timeout=900)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{used.ru_utime + used.ru_stime:.1f} s of one core, {peak / 2**20:.0f} MiB")
    counts = open_artifact(tmp_path / "data", "dataset", deep=True).details.counts
    sizes = {"train": 8600, "validation": 200, "calibration": 200, "gold": 1000, "test": 300}
    assert {split: counts[f"pairs_{split}"] for split in sizes} == sizes
    assert peak < 2 * 2**30  # a 16 GB Mac has other things to do; the rows themselves are 200 MB of text
