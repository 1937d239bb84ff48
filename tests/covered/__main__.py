"""``python -m covered [GROUP …]``: run the tests of a group under coverage and print its branches, module by module."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from covered.groups import GROUPS, LEAST
from covered.table import render, rows


def main(names: list[str]) -> int:
    """Measure the groups named (or all); return 0 when every module has enough of its branches taken."""
    if unknown := set(names) - set(GROUPS):
        print(f"error: no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    groups = [GROUPS[name] for name in names or GROUPS]
    modules = [module for group in groups for module in group.modules]
    tests = list(dict.fromkeys(path for group in groups for path in group.tests))
    with tempfile.TemporaryDirectory() as scratch:
        data, report = Path(scratch, "data"), Path(scratch, "report.json")
        # The packages are named, not the modules: a module that no test imports must show as such.
        sources = ",".join(sorted({module.partition(".")[0] for module in modules}))
        coverage = [sys.executable, "-m", "coverage"]
        run = [*coverage, "run", "--branch", f"--data-file={data}", f"--source={sources}", "-m", "pytest", "-q", *tests]
        if code := subprocess.run(run, env={**os.environ, "ALIGN_FUZZ": "1"}, check=False).returncode:
            return code
        write = [*coverage, "json", "-q", f"--data-file={data}", "-o", str(report)]
        subprocess.run(write, check=True)
        found = rows(json.loads(report.read_text()), modules)
    text = render(found, LEAST)
    print(text)
    return int("covered: FAIL" in text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
