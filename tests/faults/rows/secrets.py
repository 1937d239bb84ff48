"""Keys in every situation in which one has leaked somewhere: all that is printed, written and listed is searched."""

import base64
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from faults.endpoint import FakeStudy, completion
from faults.row import Count, Row

NOISY = {
    "ALIGN_TRACEBACK": "1", "OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "trace", "HTTPX2_LOG_LEVEL": "trace",
    "HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "DATASETS_VERBOSITY": "debug", "PYTHONASYNCIODEBUG": "1",
}  # fmt: skip
"""Everything that makes the libraries talk."""

RAISE = """
import sys
import httpx2
from align_eval.cli import main

async def send(self, request, **_):
    raise RuntimeError(f"cannot send {request.headers.raw}")

httpx2.AsyncClient.send = send
sys.exit(main())
"""
"""A mistake of ours in the middle of a call, told with the headers."""


class Repeater:
    """A server that repeats the key in all that it says.

    Args:
        status: of every reply.
        body: text around the key; bytes "hang" wait for the client to go, "reset" hang up.
        headers: of every reply; {key} stands for the key.
        key: the canary.
    """

    def __init__(self, status: int, body: str, headers: dict[str, str], key: str) -> None:
        self.told: list[str] = []
        """The Authorization header of each request."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                outer.told.append(self.headers.get("authorization", ""))
                self.rfile.read(int(self.headers.get("content-length", 0)))
                if body == "hang":
                    self.connection.recv(1)
                if body in ("hang", "reset"):
                    self.connection.close()
                    return
                said = {"content-type": "application/json", "x-request-id": key, "set-cookie": f"k={key}", **headers}
                data = body.replace("{key}", key).encode()
                self.send_response(status)
                for name, value in {**said, "content-length": str(len(data))}.items():
                    self.send_header(name, value.replace("{key}", key))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Situation:
    """One way to lose a key.

    Attributes:
        name: what happens.
        code: the exit code to see; None: that of a mistake, of bad data or of the network.
        status: of the server's replies.
        body: of its replies; see `Repeater`.
        headers: of its replies.
        script: which console script, and its command.
        more: arguments; {key} is the key, {url} the server's address, {folder} the directory.
        recipe: text of a recipe to give.
        variables: more of the environment.
        send: a signal to send once the server was called.
        code_of: what to run in place of the console script.
    """

    name: str
    code: int | None
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    script: tuple[str, ...] = ("align-eval", "judge")
    more: tuple[str, ...] = ()
    recipe: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    send: signal.Signals | None = None
    source: str = ""


def _said(kind: str) -> str:
    return '{"error": {"message": "your key {key} is wrong", "code": "KIND", "type": "{key}"}}'.replace("KIND", kind)


HELLO = str(completion("{key}\nVerdict: A")).replace("'", '"').replace("None", "null").replace("\n", "\\n")
HUB = ("align-data", "build", "--source=hf:owner/name", "--out={folder}/data")
MODEL = ("align-sft", "base", "--model=owner/name", "--out={folder}/base")
SITUATIONS = (
    Situation("verdicts that repeat the key", 0, body=HELLO, more=("--reply-form=label",)),
    Situation("a refusal that repeats the key", 5, body=HELLO.replace('"content": "{key}', '"refusal": "{key}')),
    Situation("401 that repeats the key", 2, 401, _said("invalid_api_key")),
    Situation("403 that repeats the key", 2, 403, _said("forbidden")),
    Situation("404 that repeats the key", 2, 404, _said("model_not_found")),
    Situation("400 in plain text", 2, 400, "no {key}", {"content-type": "text/plain"}),
    Situation("a quota that is used up", 5, 429, _said("insufficient_quota")),
    Situation("too many requests", 5, 429, _said("rate"), {"retry-after": "0"}),
    Situation("a pause of hours", 5, 429, _said("rate"), {"retry-after": "9999"}),
    Situation("a server's error", 5, 500, _said("server_error")),
    Situation("no JSON", 5, 200, "<html>{key}"),
    Situation("no completion", 5, 200, '{"choices": [], "key": "{key}"}'),
    Situation("a reset", 5, body="reset"),
    Situation("a timeout", 5, body="hang", more=("--timeout-s=0.2",)),
    Situation("a packing that is none", 5, 200, "{key}", {"content-encoding": "gzip"}),
    Situation("a redirect to another host", 2, 307, "{key}", {"location": "{other}/{key}"}),
    Situation("a redirect as a GET", 2, 302, "{key}", {"location": "{other}/{key}"}),
    Situation("a proxy in the environment", 0, body=HELLO, more=("--reply-form=label",),
              variables={"HTTP_PROXY": "{other}", "http_proxy": "{other}", "ALL_PROXY": "{other}"}),
    Situation("an exception with the headers", 1, source=RAISE),
    Situation("SIGTERM in a call", 143, body="hang", send=signal.SIGTERM),
    Situation("SIGINT in a call", 130, body="hang", send=signal.SIGINT),
    Situation("SIGKILL in a call", -9, body="hang", send=signal.SIGKILL),
    Situation("a forecast", 0, more=("--dry-run", "--price-input-usd=1", "--price-output-usd=1")),
    Situation("the settings shown", 0, more=("--show-config",)),
    Situation("the key as a flag that is none", 2, more=("--api-key={key}",)),
    Situation("the key behind a flag that is none", 2, more=("--api-key", "{key}")),
    Situation("the key as an argument", 2, more=("{key}",)),
    Situation("the key as the model", 2, more=("--judge=openai:{key}",)),
    Situation("the key as a path", 2, more=("--data={folder}/{key}",)),
    Situation("the key by --set", 2, more=("--set=judge.temperature={key}",)),
    Situation("user and password in the address", 2, more=("--base-url=http://me:{key}@127.0.0.1:9/v1",)),
    Situation("a token in the address of a judge that has none", 2,
              more=("--judge=reference", "--base-url=http://127.0.0.1:9/v1?key={key}")),
    Situation("the key in a recipe", 2, recipe='[judge]\napi_key = "{key}"\n'),
    Situation("the key in a recipe that is none", 2, recipe="[judge]\napi_key = {key}\n"),
    Situation("the address in a recipe", 2, recipe='[judge]\nbase_url = "https://{key}@127.0.0.1/v1"\n'),
    Situation("a data set: 401", None, 401, "{key}", {"x-error-message": "bad token {key}"}, HUB),
    Situation("a data set: 404", 2, 404, "{key}", {"x-error-message": "{key}", "x-error-code": "RepoNotFound"}, HUB),
    Situation("a data set: no JSON", None, 200, "{key}", {}, HUB),
    Situation("a data set: a redirect", None, 307, "{key}", {"location": "{other}/{key}"}, HUB),
    Situation("a model: 403", 2, 403, "{key}", {"x-error-message": "bad {key}", "x-error-code": "GatedRepo"}, MODEL),
    Situation("a model: no JSON", None, 200, "{key}", {}, MODEL),
    Situation("a model: a redirect", None, 307, "{key}", {"location": "{other}/{key}"}, MODEL),
)  # fmt: skip


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Go through the situations, again with another key if more tries are asked for."""
    rng = random.Random(seed)
    study = FakeStudy(scratch / "study", prompts=60, validation=1)
    study.make_responses(study.sft, skill=0.5)
    study.make_responses(study.sft, skill=0.5, seed=1, name="responses-sft-aa")
    failures = []
    for i in range(tries):
        situation = SITUATIONS[i % len(SITUATIONS)]
        failures.append(attempt(situation, scratch / str(i), scratch / "study", f"cnry/{rng.randbytes(12).hex()}+=="))
    broken = [f"{SITUATIONS[i % len(SITUATIONS)].name}: {'; '.join(one)}" for i, one in enumerate(failures) if one]
    return Count(tries - len(broken), tries, tuple(broken))


def attempt(situation: Situation, folder: Path, study: Path, key: str) -> list[str]:
    """Bring one situation about and search for the key; what was found, in a sentence each."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    other = Repeater(200, HELLO, {}, "")
    headers = {name: value.replace("{other}", other.url) for name, value in situation.headers.items()}
    server = Repeater(situation.status, situation.body, headers, key)
    known = {"{key}": key, "{folder}": str(folder), "{other}": other.url}

    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(name, value)
        return text

    variables = {**os.environ, **NOISY, "OPENAI_API_KEY": key, "HF_TOKEN": key, "HF_ENDPOINT": server.url}
    variables |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home")}
    variables |= {name: filled(value) for name, value in situation.variables.items()}
    for name in ("HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        variables.pop(name, None)
    command = [sys.executable, "-c", situation.source] if situation.source else [_script(situation.script[0])]
    command += [filled(part) for part in situation.script[1:]]
    if situation.script[0] == "align-eval":
        command += _judging(study, folder, server.url, situation)
    if situation.recipe:
        (folder / "recipe.toml").write_text(filled(situation.recipe))
        command.append(f"--config={folder / 'recipe.toml'}")
    code, said, listed = _run(command + [filled(part) for part in situation.more], variables, situation, server)
    (folder / "recipe.toml").unlink(missing_ok=True)
    server.close()
    other.close()
    wanted = situation.code in (code, None) and (situation.code is not None or code in (2, 3, 6))
    found = [] if wanted else [f"exit code {code}: {said[-300:].decode('utf-8', 'replace')}"]
    given = any("{key}" in part for part in situation.more)  # the user's own doing is seen in the list of processes
    places = {"what it said": said, "the list of processes": b"" if given else listed}
    places |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    places |= {"a name of a file": str([str(path) for path in folder.rglob("*")]).encode()}
    found += [f"the key is in {place}" for place, content in places.items() if _holds(content, key)]
    if other.told and any(other.told):
        found.append("the key was sent to another host")
    return found


def _judging(study: Path, folder: Path, url: str, situation: Situation) -> list[str]:
    where = {"candidate": study / "responses-sft-aa", "baseline": study / "responses-sft"}
    where |= {"out": folder / "judgments", "cache": folder / "replies.sqlite3"}
    given = {"--judge": "openai:m", "--base-url": f"{url}/v1", "--attempts": "2", "--concurrency": "2"}
    own = {part.partition("=")[0] for part in situation.more}
    own |= {"--base-url"} if "base_url" in situation.recipe else set()
    return [
        *(f"--{name}={path}" for name, path in where.items()),
        *(f"{name}={value}" for name, value in given.items() if name not in own),
    ]


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _run(
    command: list[str], variables: dict[str, str], situation: Situation, server: Repeater
) -> tuple[int, bytes, bytes]:
    """Run to the end; exit code, what was printed, and what a list of processes showed meanwhile."""
    if situation.source:
        command = [*command[:3], "judge", *(part for part in command[3:] if part != "judge")]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stdout.read()))
    reader.start()
    listed = b""
    sent, limit = situation.send is None, time.monotonic() + 120.0
    while process.poll() is None and time.monotonic() < limit:
        listed += subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, check=False).stdout
        if not sent and server.told:
            process.send_signal(situation.send)
            sent = True
        time.sleep(0.3)
    if process.poll() is None:
        process.kill()
    reader.join()
    return process.wait(), said[0], listed


def _holds(content: bytes, key: str) -> bool:
    """Whether the key stands in some bytes: as it is, percent-encoded, in base64, or its random part alone."""
    forms = {key, quote(key), quote(key, safe=""), base64.b64encode(key.encode()).decode()[:20], key[5:29]}
    return any(form.encode() in content for form in forms)


ROWS = (
    Row("secrets", "a key is printed, written, listed or sent elsewhere in no situation", len(SITUATIONS), run),
)  # fmt: skip
