"""`align-eval judge` at an endpoint that fails every fourth call, killed with its process group at random moments."""

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from align_contracts import open_artifact
from align_contracts.canonical import digest
from faults.endpoint import PRICE, Endpoint, FakeStudy, verdict_of
from faults.row import Count, Row

PAIRS, FEW = 200, 40
CAP = 50.0
"""USD; what cannot be ruled out as billed stays booked, some 0.02 USD a call."""
SMALL_CAP = 1.0
"""USD under which the dear endpoint cannot answer all of `FEW` pairs: 80 questions of some 0.018 USD."""
NEVER = r"\btest 7\."
"""The pair that is refused each time: 1 of 200, below the 2 % that end a judging."""
PROMPTNESS = 30.0
"""Seconds after which a signal must have stopped the judge."""


@dataclass
class Judging:
    """One judging and its endpoint.

    Attributes:
        folder: where all of it lies.
        endpoint: who answers, with its ledger.
        cap: USD.
        committed: replies in the cache, by message, with how often that message had been asked when they were seen.
        failures: promises that did not hold.
    """

    folder: Path
    endpoint: Endpoint
    cap: float = CAP
    committed: dict[str, tuple[str | None, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def start(self, *more: str, cache: str = "replies.sqlite3", out: str = "judgments") -> subprocess.Popen:
        """Start the console script as the leader of a process group."""
        where = {"candidate": "responses-sft-aa", "baseline": "responses-sft", "out": out, "cache": cache}
        command = [Path(sys.executable).with_name("align-eval"), "judge", "--judge", "openai:m", *more]
        command += [f"--{name}={self.folder / path}" for name, path in where.items()]
        command += [f"--base-url={self.endpoint.server.url}", f"--max-cost-usd={self.cap}", "--timeout-s=1"]
        command += [f"--price-input-usd={PRICE}", f"--price-output-usd={PRICE}", "--attempts=12"]
        return subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def disturb(self, rng: random.Random, number: signal.Signals = signal.SIGKILL) -> tuple[int, str]:
        """Start, signal the process group at a random moment, and check what is left; its code and last words."""
        process, before = self.start(), len(self.endpoint.calls)
        goal, limit = before + rng.randint(1, 16), time.monotonic() + 60.0
        if rng.random() < 0.2:  # while it starts
            goal, limit = sys.maxsize, time.monotonic() + rng.uniform(0.0, 1.5)
        while len(self.endpoint.calls) < goal and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        if process.poll() is None:
            os.killpg(process.pid, number)
        else:
            self.fail(f"it ended before the {number.name}: {process.returncode}")
        try:
            said = process.communicate(timeout=PROMPTNESS)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()[1]
            self.fail(f"{number.name} had not stopped it after {PROMPTNESS:.0f} s")
        self.check()
        return process.returncode, said

    def finish(self, *more: str, **where: str) -> tuple[int, str]:
        """Run to the end; its exit code and what it said."""
        process = self.start(*more, **where)
        said = process.communicate(timeout=300)[1]
        self.check(asked_again="--retry-invalid" in more)
        return process.returncode, said

    def check(self, *, asked_again: bool = False) -> None:
        """Compare cache and ledger: nothing lost or changed or asked again, and no money forgotten."""
        replies, booked = self._cached()
        for text, (reply, times) in self.committed.items():
            unusable = reply is None
            if text not in replies:
                self.fail(f"a reply was lost: {text[-60:]!r}")
            elif replies[text] != reply and not (asked_again and unusable):
                self.fail(f"a reply has changed: {text[-60:]!r}")
            elif self.endpoint.asked(text) > times and not (asked_again and unusable):
                self.fail(f"a question with a reply was asked again: {text[-60:]!r}")
        for text, reply in replies.items():
            if reply is not None and f'"verdict": "{verdict_of(text)}"' not in reply:
                self.fail(f"a reply is not what the endpoint said: {reply!r}")
        self.committed = {text: (reply, self.endpoint.asked(text)) for text, reply in replies.items()}
        if booked + 1e-9 < self.endpoint.usd:
            self.fail(f"{self.endpoint.usd:.4f} USD were billed and {booked:.4f} booked")
        if max(booked, self.endpoint.usd) > self.cap:
            self.fail(f"{booked:.4f} USD booked and {self.endpoint.usd:.4f} billed under a cap of {self.cap} USD")

    def check_artifact(self) -> str:
        """Compare each verdict with the endpoint's; return the content digest."""
        said: dict[tuple[str, ...], str] = {}
        for text in {text for text, kind in self.endpoint.calls if kind == "verdict" or re.search(NEVER, text)}:
            if found := re.search(r"(test \d+\.).*?_A>\n(.*)\n</answer_A>.*?_B>\n(.*)\n</answer_B>", text, re.DOTALL):
                said[found.groups()] = "invalid" if re.search(NEVER, text) else verdict_of(text)
        orders = {"forward": ("candidate", "baseline"), "backward": ("baseline", "candidate")}
        judged = open_artifact(self.folder / "judgments", "judgments", deep=True)
        answers = [open_artifact(self.folder / f"responses-{n}").read_jsonl("responses") for n in ("sft-aa", "sft")]
        for row, mine, theirs in zip(judged.read_jsonl("verdicts"), *answers, strict=True):
            prompt = f"{row['prompt_id'].replace('-', ' ')}."
            shown = {"candidate": mine["response"], "baseline": theirs["response"]}
            for order, (first, second) in orders.items():
                letter = "tie" if mine["response"] == theirs["response"] else said[prompt, shown[first], shown[second]]
                expected = {"A": first, "B": second}.get(letter, letter)
                if row[order] != expected:
                    self.fail(f"{prompt} {order}: the endpoint said {expected}, the artifact {row[order]}")
        if (
            judged.details.invalid != 1
            or judged.details.wins + judged.details.losses + judged.details.ties != PAIRS - 1
        ):
            self.fail(f"the pair that is refused is not counted apart: {judged.details}")
        return judged.content_digest

    def messages(self) -> dict[str, str]:
        """What the endpoint was sent, by the key under which the cache has the reply."""
        server = self.endpoint.server
        return {digest({"url": server.url, **body}): body["messages"][0]["content"] for body in list(server.bodies)}

    def fail(self, what: str) -> None:
        """Note a broken promise."""
        self.failures.append(what)

    def _cached(self) -> tuple[dict[str, str | None], float]:
        """Replies by message, and the USD booked, as another program reads them from the file."""
        path = self.folder / "replies.sqlite3"
        if not path.exists():
            return {}, 0.0
        message = self.messages()
        with sqlite3.connect(path) as db:
            if len(db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()) < 2:
                return {}, 0.0  # killed before the tables were made
            replies = {message[key]: text for key, text in db.execute("SELECT key, text FROM replies")}
            return replies, db.execute("SELECT TOTAL(usd) FROM charges").fetchone()[0]


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Kill a judging so many times, let it end, compare it with an undisturbed one; then the same under a small cap."""
    rng = random.Random(seed)
    judging = Judging(_study(scratch / "storm", PAIRS), Endpoint(seed, never=NEVER))
    survived = 0
    for _ in range(tries):
        broken = len(judging.failures)
        judging.disturb(rng)
        survived += len(judging.failures) == broken
    others = [_signals(judging, rng), _the_end(judging), _the_small_cap(scratch / "cap", rng, seed)]
    judging.endpoint.server.close()
    failures = [*judging.failures, *(one for other in others for one in other)]
    return Count(survived + sum(not other for other in others), tries + len(others), tuple(dict.fromkeys(failures)))


def _study(folder: Path, pairs: int) -> Path:
    study = FakeStudy(folder, prompts=pairs, validation=1)
    study.make_responses(study.sft, skill=0.5)
    study.make_responses(study.sft, skill=0.5, seed=1, name="responses-sft-aa")
    return folder


def _signals(judging: Judging, rng: random.Random) -> list[str]:
    """SIGINT and SIGTERM: the codes, and a line that says how to go on."""
    found = []
    for number, expected in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        asked, (code, said) = len(judging.endpoint.calls), judging.disturb(rng, number)
        while len(judging.endpoint.calls) == asked:  # it was only starting
            code, said = judging.disturb(rng, number)
        if code != expected or "Run the same command again" not in said:
            found.append(f"{number.name}: exit code {code}, {said[-200:]!r}")
    return found


def _the_end(judging: Judging) -> list[str]:
    """Too many refusals end it, asked again they do not; equal to an undisturbed judging; nothing is asked twice."""
    found, endpoint = [], judging.endpoint
    code, said = judging.finish()
    if code != 5 or not re.search(rf"\d+ of {PAIRS} pairs have no usable verdict", said):
        found.append(f"refusals above 2 %: exit code {code}, {said[-300:]!r}")
    if (judging.folder / "judgments").exists():
        found.append("a judging with too many refusals was published")
    code, said = judging.finish("--retry-invalid")
    if code != 0:
        return [*found, f"the last run: exit code {code}, {said[-300:]!r}"]
    content, calls = judging.check_artifact(), len(endpoint.calls)
    if judging.finish("--overwrite")[0] != 0 or len(endpoint.calls) != calls:
        found.append(f"a rerun of the finished judging asked {len(endpoint.calls) - calls} questions")
    endpoint.share = 0.0
    process = judging.start(cache="calm.sqlite3", out="calm")
    process.communicate(timeout=300)
    if process.returncode or open_artifact(judging.folder / "calm").content_digest != content:
        found.append("the judging is not the undisturbed one")
    return found


def _the_small_cap(folder: Path, rng: random.Random, seed: int) -> list[str]:
    """Kills under a cap that does not suffice: it ends below the cap; a higher one lets it go on."""
    judging = Judging(_study(folder, FEW), Endpoint(seed + 1, dear=True), SMALL_CAP)
    for _ in range(3):
        judging.disturb(rng)
    code, said = judging.finish()
    if code != 5 or "--max-cost-usd" not in said or not 0 < judging.endpoint.usd <= SMALL_CAP:
        judging.fail(f"exit code {code} after {judging.endpoint.usd:.4f} USD: {said[-200:]!r}")
    calls = len(judging.endpoint.calls)
    code, said = judging.finish()
    if code != 5 or len(judging.endpoint.calls) > calls + 1:  # one fits if a call was turned away before
        judging.fail(f"the cap was forgotten: exit code {code}, {len(judging.endpoint.calls) - calls} calls more")
    judging.cap = CAP
    codes = [judging.finish()[0], judging.finish("--retry-invalid", "--overwrite")[0]]
    if codes[-1] != 0:
        judging.fail(f"under a higher cap: exit codes {codes}")
    judging.endpoint.server.close()
    return judging.failures


ROWS = (Row("judge", "25 % faults and kills: no verdict lost, no reply paid for twice, never above the cap", 20, run),)
