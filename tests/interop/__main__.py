"""Runs the three parts in turn, two in this environment and one in the peers', and gives the verdict.

    python -m interop PEERS_PYTHON

MLX's BLAS and PyTorch's would share their symbols in one process, so numbers pass between the parts as files.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from interop.lines import verdict

HERE = Path(__file__).parent
LINES = 29
"""How many things are tried: a part that ends early is no pass."""


LIMIT = 900
"""Seconds for one part; together they take about three minutes of one core."""


def ended(part: list[str]) -> bool:
    """Run a part; say whether it ended well and in time."""
    try:
        return subprocess.run(part, check=False, timeout=LIMIT).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"{part[2]} took more than {LIMIT} s", file=sys.stderr)
        return False


def main(peers: str) -> int:
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        run = Path(folder)
        parts = (
            [sys.executable, "-m", "interop.leaving", str(run)],
            [peers, "-W", "ignore", str(HERE / "peers.py"), str(run)],
            [sys.executable, "-m", "interop.coming", str(run)],
        )
        passed = all(ended(part) for part in parts) and verdict(run, LINES)
    print(f"interop: {'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
