"""Identical inputs give identical bytes, from one process to the next, whatever the hash seed, zone or language."""

import os
import shutil
import subprocess
import sys

from align_contracts import Artifact, open_artifact

PROGRAM = """
import sys
from pathlib import Path
from align_eval import compare
from align_eval.config import CompareConfig
judgments = tuple(Path(path) for path in sys.argv[2:])
compare.run(CompareConfig(judgments=judgments, out=Path(sys.argv[1]), quiet=True))
"""


def test_two_processes_write_the_same_bytes(compared):
    names = [path for path in sorted(compared.iterdir()) if path.name.startswith("judgments-")]
    found = []
    for number, (zone, language) in enumerate((("UTC", "C.UTF-8"), ("Asia/Tokyo", "C"))):
        out = compared / f"again-{number}"
        env = {**os.environ, "PYTHONHASHSEED": str(number), "TZ": zone, "LC_ALL": language}
        # The names in another order: the report has its own.
        given = names if number else names[::-1]
        subprocess.run([sys.executable, "-c", PROGRAM, out, *given], env=env, check=True)
        found.append(_files(open_artifact(out, "report")))
        shutil.rmtree(out)
    assert found[0] == found[1]
    kinds = {path.rpartition(".")[2] for path in found[0]}
    assert kinds == {"html", "md", "json", "pdf", "svg"}
    assert {"report.html", "report.pdf", "report.md", "report.json", "cards/ppo-42.md"} <= set(found[0])


def _files(report: Artifact) -> dict[str, bytes]:
    return {record.path: (report.path / record.path).read_bytes() for record in report.manifest.files}
