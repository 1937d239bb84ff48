"""A few tries of each row: what the campaign does a thousand times is right once, and it does see what goes wrong."""

import errno
import os
import random
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from align_contracts import open_artifact
from faults import cores
from faults.attacks.lair import make_honest, make_lair
from faults.attacks.watch import watched
from faults.calls import Striker, struck
from faults.children import ChildError, ask, die, kill_during
from faults.operations import NAME, PUBLISHING, publish_version, published_version, safetensors
from faults.row import BrokenPromiseError, tally
from faults.rows import corruption, disk, malicious, saving
from faults.rows import signals as stops
from faults.saver import Saver
from faults.warm import Scripts

each_operation = pytest.mark.parametrize("index", range(len(cores.OPERATIONS)), ids=[o.name for o in cores.OPERATIONS])


@pytest.fixture(scope="module")
def fresh():
    """Run a function in a process that has not computed yet: fresh(function, *arguments)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result()


@each_operation
def test_a_kill_at_any_of_three_calls_leaves_the_old_or_the_new(tmp_path, fresh, index):
    assert fresh(cores.killed, tmp_path, index) == [None] * 3


@each_operation
def test_a_disk_that_fails_at_one_of_the_calls_loses_nothing(tmp_path, fresh, index):
    assert fresh(cores.failed, tmp_path, index) == [None] * len(disk.ERRORS)


def test_a_disk_that_is_really_full_loses_nothing(tmp_path, fresh):
    assert fresh(cores.full, tmp_path) == [None] * len(cores.OPERATIONS)


def test_three_rounds_of_writers_have_a_winner_each_and_the_dead_hold_nothing(tmp_path, fresh):
    assert fresh(cores.raced, tmp_path) == [None] * 4


def test_damage_to_every_file_of_an_artifact_is_refused(tmp_path):
    make_honest(tmp_path / "x")
    count = corruption.damage([tmp_path / "x"], 20, random.Random(1))
    assert count.failures == ()
    # 20 flips, 10 cuts; 5 files (3, manifest, sidecar) in 7 ways, under 4 other names, with 3 things beside; 4 swaps.
    assert count.tried == count.survived == 20 + 10 + 5 * (7 + 4 + 3) + 4


def test_a_script_is_stopped_in_its_first_moment(tmp_path):
    (work := tmp_path / "work").mkdir()
    with Scripts() as scripts:
        argv = ["build", "--embedded-prompts", "2000000", "--out", str(work / "x")]  # minutes, if left alone

        def strike(process):
            while not list(work.iterdir()):  # its lock
                time.sleep(0.01)
            os.kill(process, signal.SIGTERM)

        code = scripts.run("align-data", argv, tmp_path / "log", strike)
    assert code == 143
    stops.check(code, 0.0, (tmp_path / "log").read_text(), work, signal.SIGTERM)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "seconds", "said", "left", "broken"),
    [
        (1, 0.0, "error: x\n", [], "exit code 1"),
        (143, 0.0, "", [], "0 lines of error"),
        (143, 0.0, "error: x\nerror: y\n", [], "2 lines of error"),
        (130, 0.0, "error: x\n", [], "exit code 130"),
        (-15, 0.0, "Traceback (most recent call last)\n", [], "a traceback"),
        (143, 0.0, "error: x\n", [".x.lock"], r"\.x\.lock left behind"),
        (143, 31.0, "error: x\n", [".x.run"], "it ended after 31 s"),
    ],
)
def test_a_stop_that_breaks_its_promise_is_seen(tmp_path, code, seconds, said, left, broken):
    for name in left:
        (tmp_path / name).mkdir()
    with pytest.raises(BrokenPromiseError, match=broken):
        stops.check(code, seconds, said, tmp_path, signal.SIGTERM)


QUICK = [name for name in malicious.ATTACKS if "million" not in name and "20 001" not in name and "100 001" not in name]


def test_there_are_many_attacks_of_each_sort():
    """The specification asks for 60 attacks by paths."""
    paths = malicious.GROUPS["by paths"].ATTACKS | malicious.GROUPS["by what lies there"].ATTACKS
    assert len(paths) >= 60
    assert len(malicious.GROUPS["by headers"].ATTACKS) >= 60
    assert len(malicious.ATTACKS) == sum(len(group.ATTACKS) for group in malicious.GROUPS.values())


def test_quick_attacks_are_refused(tmp_path):
    make_honest(tmp_path / "honest")
    assert [malicious.attempt(tmp_path, tmp_path / "honest", name) for name in QUICK] == [None] * len(QUICK)


def test_races_and_random_changes_open_nothing_outside_and_crash_nothing(tmp_path):
    make_honest(tmp_path / "honest")
    for name in malicious.trees.RACES:
        assert malicious._race(tmp_path, tmp_path / "honest", name) is None
    for number in range(20):
        assert malicious._fuzz(tmp_path, tmp_path / "honest", f"test {number}") is None


# What sees nothing finds nothing: each instrument is held against something that it must see.


def test_an_attacker_s_forgery_without_an_attack_is_accepted(tmp_path):
    make_honest(tmp_path / "honest")
    lair = make_lair(tmp_path, tmp_path / "honest")
    lair.forge(lambda raw: raw["metrics"][0].update(value=2.0))
    lair.list_as("zz.txt", b"harmless")
    (lair.root / "zz.txt").write_bytes(b"harmless")
    lair.put("config.json", b'{"model_type": "llama"}')
    assert open_artifact(lair.root, deep=True).metric("loss") == 2.0


@pytest.mark.parametrize("how", ["by path", "by descriptor", "through a link"])
def test_whatever_is_opened_outside_is_seen(tmp_path, how):
    make_honest(tmp_path / "honest")
    lair = make_lair(tmp_path, tmp_path / "honest")
    (lair.root / "link").symlink_to(lair.secret)
    folder = os.open(lair.outside, os.O_RDONLY)
    with watched(lair.root, lair.outside) as opened:
        path, where = {
            "by path": (lair.secret, None),
            "by descriptor": ("secret", folder),
            "through a link": (lair.root / "link", None),
        }[how]
        os.close(os.open(path, os.O_RDONLY, dir_fd=where))
    assert opened
    os.close(folder)
    with watched(lair.root, lair.outside) as opened:
        (lair.root / "config.json").read_bytes()
    assert opened == []


def test_a_state_of_two_versions_is_no_state(tmp_path):
    publish_version(tmp_path, 1)
    shutil.copytree(tmp_path / NAME, tmp_path / "other")
    publish_version(tmp_path, 2)
    assert published_version(tmp_path) == 2
    (tmp_path / NAME / "weights.safetensors").write_bytes(safetensors(1))
    with pytest.raises(ValueError, match=r"weights\.safetensors"):
        published_version(tmp_path)


def test_a_damaged_checkpoint_is_no_state(tmp_path, fresh):
    before, said = fresh(cores.damaged_checkpoint, tmp_path)
    assert before == 2
    assert "a damaged checkpoint" in said


def test_a_saving_in_place_does_not_survive(tmp_path):
    """The negative control: files written where they are read lose the state to a kill, and the row says so."""

    def save(folder, version):
        (folder / NAME).write_text(f"version {version}\n" * 100)

    def read(folder):
        text = (folder / NAME).read_text()
        version = int(text.split()[1])
        if text != f"version {version}\n" * 100:
            raise BrokenPromiseError("torn")
        return version

    torn = PUBLISHING[1].__class__("in place", save, read, lambda folder: [])
    saver = Saver(torn, tmp_path / "states")
    assert saver.count() == 2  # open, write
    assert saving._kill_at_call(saver, 2) == "in place, killed at call 2: faults.row.BrokenPromiseError: torn"


def test_calls_are_counted_struck_and_torn(tmp_path):
    def fault():
        raise OSError(errno.ENOSPC, "full")

    with struck(Striker()) as striker:
        (tmp_path / "a").write_bytes(b"1234")
        os.rename(tmp_path / "a", tmp_path / "b")
    assert striker.seen == ["open", "write", "rename"]
    with pytest.raises(OSError, match="full"), struck(Striker(2, fault)):
        (tmp_path / "c").write_bytes(b"1234")
    assert (tmp_path / "c").read_bytes() == b"12"
    assert (tmp_path / "b").read_bytes() == b"1234"


def test_children_give_results_errors_and_deaths():
    assert ask(lambda: 6 * 7) == 42
    with pytest.raises(ChildError, match="ZeroDivisionError") as caught:
        ask(lambda: 1 / 0)
    assert "Traceback" in caught.value.traceback
    with pytest.raises(ChildError, match="said nothing"):
        ask(die)
    assert kill_during(die, None)
    assert not kill_during(lambda: None, None)
    assert not kill_during(lambda: None, 0.5)


def test_a_tally_counts_the_silent_ones():
    count = tally([None, "a: lost", None], ("noted",))
    assert (count.survived, count.tried, count.failures, count.notes) == (2, 3, ("a: lost",), ("noted",))
