"""A model from the Hugging Face hub: only the files that are needed, each checked by its digest.

The client keeps what it has fetched in its cache (``models--OWNER--NAME/snapshots/COMMIT``), finds it there without a
network, goes on with what was cut off, and reads the token by itself: none is passed, logged or recorded here. Code of
the repository is neither fetched nor run.
"""

import hashlib
import re
from pathlib import Path

from align_contracts.errors import AlignError, MissingError, PreflightError, VerificationError

FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "README.md")
"""Configuration, weights, tokenizer and the card; no pickles, no code."""
_GIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


def download(name: str, revision: str | None) -> Path:
    """Fetch a model, or find it in the client's cache.

    Args:
        name: ``OWNER/NAME``.
        revision: branch, tag or commit; None for the newest.

    Returns:
        The directory of its files.

    Raises:
        MissingError: there is no such model or revision, or it is not open to this user.
        PreflightError: the hub cannot be reached, or is out of order.
        VerificationError: a file is not what the hub says it is.
    """
    from huggingface_hub import snapshot_download

    try:  # what lies in folders are other formats
        found = snapshot_download(name, revision=revision, allow_patterns=list(FILES), ignore_patterns=["*/*"])
    except Exception as error:  # the client raises its own errors and those of its HTTP library
        raise _explained(error, name, revision) from error
    folder = Path(found)
    require_digests(folder, name)
    return folder


def require_digests(folder: Path, name: str) -> None:
    """Check every file of a snapshot: the client names what it keeps by its digest, and compares sizes alone.

    Args:
        folder: a snapshot, whose files are links into the client's ``blobs``.
        name: the model, for the message.

    Raises:
        VerificationError: a file has other bytes.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        told, blob = file.resolve().name, file.resolve()
        if _SHA256.fullmatch(told):
            found = _digest(blob, hashlib.sha256())
        elif _GIT.fullmatch(told):
            found = _digest(blob, hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False))
        else:
            continue
        if found != told:
            raise VerificationError(
                f"{file.name} of {name} came with other bytes than the hub has",
                expected=told[:12],
                got=found[:12],
                do=f"Delete {blob} and try again",
            )


def _digest(file: Path, digest: "hashlib._Hash") -> str:
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _explained(error: Exception, name: str, revision: str | None) -> AlignError:
    """Say what a failure of the client means; of its messages, which hold addresses and identifiers, only the kind."""
    from huggingface_hub import errors

    which = f"model {name}" + (f" at {revision}" if revision else "")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return MissingError(
            f"{which} is gated: its licence has to be accepted",
            got="no access",
            do="Accept it on the model's page, then log in with `hf auth login`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingError(f"{name} has no revision {revision}", do="Leave out --revision for the newest")
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError) or status in (401, 403, 404):
        return MissingError(
            f"{which} cannot be had",
            expected="a directory or a model of the hub",
            got="no such model, or it is private",
            do="Check the name; for a private model log in with `hf auth login`",
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | OSError) or status is not None:
        said = str(error).strip().splitlines() or [type(error).__name__]
        why = f"HTTP status {status}" if status else said[0].removeprefix("Got: ")[:200]
        return PreflightError(
            f"the hub cannot be reached for {which}, and its files are not in the cache",
            got=why,
            do="Try again later, what has come is kept; or give a local directory with the same files",
        )
    return PreflightError(f"{which} could not be fetched", got=type(error).__name__, do="Try again")
