"""What a contestant has to do, and how it talks to the driver. Standard library only: every environment imports it.

A contestant says "ready", waits for "go", does one iteration, answers with one line of JSON, and waits again. Between
two turns it does nothing, so contestants that take turns see the same machine. Its standard output belongs to this
talk; whatever else it prints goes to standard error.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

TEXT = """please explain to a young reader in a few short sentences how bread is made from flour water salt and yeast
why the dough has to rest before it goes into a hot oven what the yeast does in that time and how the baker can tell
that a loaf is done without cutting it then give one example of a bread that needs no yeast at all name the country
where people eat it most and say when you would choose it over the other kind""".split()  # noqa: SIM905
LENGTHS = (11, 14, 18, 21, 25, 32, 47, 67)
"""Words of the prompts: with a chat template around them, the octiles of short instructions (17 to 73 tokens)."""


def make_prompts(count: int, words: int = 0) -> list[str]:
    """Give different prompts of so many words; of lengths that repeat `LENGTHS` if 0."""
    starts = [5 * i % len(TEXT) for i in range(count)]
    return [" ".join((3 * TEXT)[s : s + (words or LENGTHS[i % len(LENGTHS)])]) for i, s in enumerate(starts)]


@dataclass(frozen=True)
class Work:
    """One iteration: sample `answers` answers of exactly `new_tokens` tokens to each prompt, then one optimizer step.

    Attributes:
        model: directory of the base, in the layout of Hugging Face.
        prompts: P, prompts an iteration, always the same.
        answers: K, answers a prompt.
        new_tokens: tokens of every answer; end tokens do not end it.
        rank: of the LoRA adapter on all linear maps of the blocks, with a factor of 2.
        threads: CPU threads.
        words: of every prompt (six tokens more with the chat template); 0: as in `LENGTHS`.
        device: "cpu" in fp32, or "cuda" in bf16.
        passes: sequences of one forward or backward pass of TRL's, the gradient being summed; 0: all.
    """

    model: str
    prompts: int = 8
    answers: int = 6
    new_tokens: int = 64
    rank: int = 16
    threads: int = 2
    words: int = 0
    device: str = "cpu"
    passes: int = 0

    @classmethod
    def given(cls) -> "Work":
        """Read the work from the command line, where `command_line` put it."""
        return cls(**json.loads(sys.argv[1]))

    def command_line(self) -> str:
        """Give the work as one argument."""
        return json.dumps(asdict(self))


class Turns:
    """The contestant's side: `begin` and `end` stand around an iteration."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._said = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._waited = False

    def begin(self) -> None:
        """Wait for "go", the first time after saying "ready"; the end of the input ends the process."""
        if not self._waited:
            self._say("ready")
            self._waited = True
        if sys.stdin.readline().strip() != "go":
            raise SystemExit(0)
        self.phases = {}
        self._start = time.perf_counter()

    def end(self, *, trained: int, new_tokens: float, **facts: Any) -> None:
        """Answer with the seconds since `begin`, the process's peak memory in bytes, and proof of the work.

        Args:
            trained: number of trainable parameters.
            new_tokens: mean length of the answers.
            facts: anything else.
        """
        seconds = time.perf_counter() - self._start
        proof = {"trained": trained, "new_tokens": new_tokens}
        self._say(json.dumps({"seconds": seconds, "rss": peak_rss(), "phases": self.phases, **proof, **facts}))

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function that also counts its time under a phase's name."""

        def counted(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **named)
            self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - start
            return result

        return counted

    def _say(self, line: str) -> None:
        print(line, file=self._said, flush=True)


def peak_rss() -> int:
    """Give the largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
