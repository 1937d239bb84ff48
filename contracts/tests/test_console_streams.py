"""A console script goes on when nobody reads what it says, with real processes and real broken pipes."""

import os
import subprocess
import sys

import pytest

WORK = """
import os, sys
from align_contracts.console import streams
streams.secure(stdout=True)
kept = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for number in range(3):
    print("line", number, file=sys.stderr, flush=True)
    print("line", number, flush=True)
os.write(kept, str(kept).encode())
sys.exit(7)
"""


def start(path, **streams):
    return subprocess.Popen([sys.executable, "-c", WORK, str(path)], **streams)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_nobody_reads_is_dropped(tmp_path, name):
    reads, writes = os.pipe()
    os.close(reads)
    process = start(tmp_path / "file", **{name: writes})
    os.close(writes)
    assert process.wait(60) == 7
    assert (tmp_path / "file").exists()


def test_what_somebody_reads_arrives(tmp_path):
    process = start(tmp_path / "file", stderr=subprocess.PIPE)
    assert process.communicate(timeout=60)[1] == b"line 0\nline 1\nline 2\n"
    assert process.returncode == 7


@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path, closed):
    """Otherwise what is meant for a terminal would be written into it."""
    shell = f'exec "$0" -c "$1" "$2" {closed}'
    done = subprocess.run(["sh", "-c", shell, sys.executable, WORK, str(tmp_path / "file")], check=False, timeout=60)
    assert done.returncode == 7
    number = (tmp_path / "file").read_text()
    assert number.isdecimal()
    assert int(number) > 2
