"""Read a dataset of the Hugging Face hub with the `datasets` library."""

from __future__ import annotations

import re
from pathlib import Path

from align_contracts.errors import AlignError, MissingError, PreflightError, VerificationError
from align_contracts.hub_names import HUB
from align_contracts.licences import card_licence
from align_data.directory import open_directory
from align_data.source import Source, of_tables, wanted_splits

PATIENCE = 10.0
"""Seconds that the hub has to answer, before anything is fetched: the library asks again for half a minute."""
_COMMIT = re.compile(r"@([0-9a-f]{7,64})(?:/|$)")


def open_hub(name: str, revision: str | None, *, train_split: str, test_split: str, progress: bool = True) -> Source:
    """Open a hub dataset; only the two splits that are needed are fetched.

    Args:
        name: `OWNER/NAME`. A local directory with the files of such a dataset works too.
        revision: branch, tag or commit; None for the newest.
        train_split: the training split.
        test_split: the held-out split; left out when the dataset has none.
        progress: whether the library may show its bars.

    Returns:
        The source, its revision resolved to a commit.

    Raises:
        ConfigError: the dataset has no split `train_split`.
        MissingError: there is no such dataset or revision.
        PreflightError: the hub cannot be reached.
        VerificationError: columns are missing, or the files are damaged.
    """
    import datasets
    from huggingface_hub import HfApi

    if not progress:
        datasets.disable_progress_bars()
    try:
        if not Path(name).is_dir():
            HfApi().dataset_info(name, revision=revision, timeout=PATIENCE)
        return _open(name, revision, train_split, test_split)
    except AlignError:
        raise
    except Exception as error:
        translated = _translated(error, name, revision)
        kept = _kept(name, revision) if isinstance(translated, PreflightError) else None
        if kept is None:
            raise translated from error
        return open_directory(kept, train_split=train_split, test_split=test_split)


def _kept(name: str, revision: str | None) -> Path | None:
    """The snapshot of an earlier download in the client's cache: what there is without a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True))
    except (OSError, HFValidationError):
        return None


def _licence(name: str, commit: str | None) -> str | None:
    """What the dataset's card states; the library has fetched it already."""
    from huggingface_hub import try_to_load_from_cache

    if commit is None:
        return card_licence(Path(name))
    card = try_to_load_from_cache(name, "README.md", repo_type="dataset", revision=commit)
    return card_licence(Path(card).parent) if isinstance(card, str) else None


def _open(name: str, revision: str | None, train_split: str, test_split: str) -> Source:
    import datasets

    builder = datasets.load_dataset_builder(name, revision=revision)
    files = {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}
    wanted = wanted_splits(files, f"hf:{name}", train_split=train_split, test_split=test_split)
    tables = {
        split: datasets.load_dataset(builder.name, data_files={split: files[split]}, split=split) for split in wanted
    }
    parts, scored = of_tables(tables, wanted, f"hf:{name}")
    commit = _COMMIT.search(str(builder.base_path or ""))
    return Source(
        name=HUB + name,
        revision=commit.group(1) if commit else revision,
        license=builder.info.license or _licence(name, commit.group(1) if commit else None),
        parts=parts,
        scored=scored,
    )


def _translated(error: Exception, name: str, revision: str | None) -> AlignError:
    """What a failure of the library means for the reader; of its long messages only the start is kept."""
    import datasets.exceptions
    from huggingface_hub import errors

    absent = (
        datasets.exceptions.DatasetNotFoundError,
        datasets.exceptions.DataFilesNotFoundError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.HFValidationError,
    )
    which = f"hf:{name}" + (f"@{revision}" if revision else "")
    if isinstance(error, absent):
        return MissingError(
            f"no dataset {which} that can be read",
            got=_first_line(error),
            do="Check the name; where a licence has to be accepted or it is private, log in with `hf auth login`",
        )
    if isinstance(error, ConnectionError | TimeoutError) or re.search("onnect|imeout", type(error).__name__):
        return PreflightError(
            f"the hub cannot be reached for {which}",
            got=_first_line(error),
            do="Try again later, or give a local directory with the same files as --source",
        )
    if isinstance(error, OSError) and not isinstance(error, datasets.exceptions.FileNotFoundDatasetsError):
        return PreflightError(f"{which} could not be fetched", got=_first_line(error), do="Try again")
    return VerificationError(f"{which} could not be read", got=f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
