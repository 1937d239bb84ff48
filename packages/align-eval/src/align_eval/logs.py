"""From the logs of trainings to their judgments: a log by itself proves nothing, so a comparison never reads one.

Each log is followed to the artifact that it lies in, and from there to the judgments of that policy. What is compared
is then what `--judgments` would have named, and the ledger checks it all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from align_contracts import Artifact, open_artifact
from align_contracts.errors import ConfigError, KindError, MissingError, VerificationError

MANIFEST = "manifest.json"


def judgments_of(logs: Sequence[Path], method: str) -> list[Path]:
    """Give the judgments of the policies that some logs are of.

    Args:
        logs: ``train.jsonl`` of policy artifacts, or those artifacts.
        method: what all of them must have been trained with.

    Raises:
        MissingError: A log is not there, lies in no artifact, or its policy is not judged.
        KindError: Its policy was trained with another method.
        VerificationError: It is not the log that the artifact's manifest names.
        ConfigError: Its policy was judged more than once.
    """
    return [judgments_beside(policy_of(path, method)) for path in logs]


def policy_of(path: Path, method: str) -> Artifact:
    """Open the policy that a log is of; raises as `judgments_of` does."""
    if not path.exists():
        raise MissingError(f"there is no log {path}", expected="the train.jsonl of a policy artifact")
    home = next((one for one in (path, *path.absolute().parents) if (one / MANIFEST).is_file()), None)
    if home is None:
        unfinished = any(one.name.startswith(".") and one.name.endswith(".run") for one in path.absolute().parents)
        raise MissingError(
            f"{path} lies in no artifact" + (": its run is not finished" if unfinished else ""),
            expected="the train.jsonl of a policy artifact, whose manifest says what the run was",
            do="Finish the run" if unfinished else "Give the log in its place, as in runs/ppo-42/train.jsonl",
        )
    policy = open_artifact(home, "policy")
    if path != home:
        _require_listed(policy, path)
    if policy.details.method != method:
        raise KindError(f"{path} is no log of {method}", expected=method, got=policy.details.method)
    return policy


def judgments_beside(policy: Artifact) -> Path:
    """Find the judgments of a policy among the artifacts beside it; raises as `judgments_of` does."""
    found = [one.path for one in _judgments(policy.path.parent) if _candidate(one) == policy.content_digest]
    if not found:
        raise MissingError(
            f"{policy.name} is not judged: no judgments of it lie in {policy.path.parent}",
            do="Let it answer (align-eval respond), and judge the answers (align-eval judge)",
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(f"{policy.name} was judged more than once: {names}", do="Say which with --judgments")
    return found[0]


def _judgments(folder: Path) -> Iterator[Artifact]:
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            kind = json.loads(manifest.read_bytes()).get("kind")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # whatever it is, it is none of ours
        if kind == "judgments":
            yield open_artifact(manifest.parent, "judgments")


def _candidate(judgments: Artifact) -> str | None:
    if judgments.details.source != "judged":
        return None
    return judgments.input("candidate").input("policy").content_digest


def _require_listed(policy: Artifact, path: Path) -> None:
    name = path.absolute().relative_to(policy.path.absolute()).as_posix()
    listed = {file.path: file.sha256 for file in policy.manifest.files}
    if listed.get(name) != hashlib.sha256(path.read_bytes()).hexdigest():
        raise VerificationError(f"{path} is not the log of {policy.name}", expected=f"the file {name} of its manifest")
