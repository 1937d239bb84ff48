"""A chat endpoint on loopback that fails every fourth call, and remembers all that it was asked, said and billed."""

import hashlib
import json
import random
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "packages" / "align-eval" / "tests"))

from chat_server import ChatServer, completion
from fake_study import FakeStudy

__all__ = ["FAULTS", "PRICE", "ChatServer", "Endpoint", "FakeStudy", "verdict_of"]

FAULTS = ("429", "5xx", "timeout", "reset", "bad JSON", "refusal")
PRICE = 10.0
"""USD per million tokens, read and written alike."""
_HARMLESS = {"429"}
"""What is surely not billed; of everything else the endpoint says that it is."""


def verdict_of(text: str) -> str:
    """The verdict on a message: any fixed function of it, so that a rerun must hear the same."""
    return ("A", "B", "tie")[hashlib.sha256(text.encode()).digest()[0] % 3]


@dataclass
class Endpoint:
    """What the endpoint does and its ledger.

    Attributes:
        seed: of which calls fail, and how.
        share: chance that a call fails.
        never: messages matching this are refused each time.
        dear: whether replies are as long as allowed, and every byte of a message is a token.
        calls: (message, what became of it) of each call, in order.
        billed: tokens billed so far.
        refused: messages that were refused.
    """

    seed: int
    share: float = 0.25
    never: str = "$^"
    dear: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)
    billed: int = 0
    refused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rng, self._lock = random.Random(self.seed), threading.Lock()
        self.server = ChatServer(self._answer)

    @property
    def usd(self) -> float:
        """What the endpoint has billed."""
        return self.billed * PRICE / 1e6

    def asked(self, text: str) -> int:
        """How often a message came."""
        return sum(one == text for one, _ in self.calls)

    def _answer(self, text: str, before: int):
        with self._lock:
            kind = self._rng.choice(FAULTS) if self._rng.random() < self.share else "verdict"
            if re.search(self.never, text) or (kind == "refusal" and text not in self.refused and before == 0):
                kind = "refusal"
                self.refused.add(text)
            elif kind == "refusal":
                kind = "verdict"
            usage = (len(text.encode()), 300) if self.dear else (len(text) // 4 + 20, 30)
            self.billed += 0 if kind in _HARMLESS else sum(usage)
            self.calls.append((text, kind))
            status, garbled = self._rng.choice((500, 502, 503, 504)), self._rng.choice((b"{not json", b"{}", b""))
        time.sleep(0.03)
        reply = json.dumps({"reason": "because", "verdict": verdict_of(text)})
        return {
            "verdict": completion(reply, usage=usage),
            "refusal": completion(None, refusal="I will not", usage=usage),
            "429": (429, {"error": {"message": "slow down"}}, {"retry-after": "0.02"}),
            "5xx": (status, {"error": {"message": "oops"}}, {}),
            "bad JSON": (200, garbled, {}),
            "timeout": "hang",
            "reset": "reset",
        }[kind]
