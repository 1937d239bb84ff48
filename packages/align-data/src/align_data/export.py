"""`align-data export`: a dataset artifact as a directory that `datasets.load_dataset` reads, in TRL's conventions.

One configuration for each kind of row (``sft``, ``genrm``, ``pairs``, ``prompts``, ``corpus``), one file a split, and a
README.md whose head tells `datasets` which file is which. Source: the dataset formats of TRL 1.16 and the metadata of
dataset cards, read and tried.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align_contracts import Artifact, open_artifact
from align_contracts.leaving import leave
from align_contracts.licences import card_lines, terms
from align_data.config import ExportConfig

Row = Mapping[str, Any]
SCORES = ("score", "score_chosen", "score_rejected")
ROLES = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
"""Columns that become chats of one message, and who speaks."""


def run(config: ExportConfig) -> int:
    """Write every table of the artifact that has rows."""
    data = open_artifact(config.data, kind="dataset")
    tables = read_tables(data, chats=config.chats)
    facts = {"rows": {name: {split: len(rows) for split, rows in splits.items()} for name, splits in tables.items()}}
    with leave(
        config.out, producer="align-data", form=config.format, source=data, facts=facts, overwrite=config.overwrite
    ) as folder:
        for name, splits in tables.items():
            (folder / name).mkdir()
            columns = sorted({column for rows in splits.values() for row in rows for column in row})
            for split, rows in splits.items():
                write(folder / name / f"{split}.{config.format}", rows, columns, chats=config.chats)
        (folder / "README.md").write_text(readme(data, tables, config.format), encoding="utf-8")
    if not config.quiet:
        total = sum(len(rows) for splits in tables.values() for rows in splits.values())
        print(f"{config.out}: {total} rows, configurations {', '.join(tables)}", file=sys.stderr)
    return 0


def read_tables(data: Artifact, *, chats: bool) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Give the rows by configuration and split; a split without rows is left out.

    Args:
        data: the dataset artifact.
        chats: whether prompts and answers become chats of one message each.
    """
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for role, count in data.details.counts.items():
        name, _, split = role.partition("_")
        if count:
            rows = [exported(row, chats=chats) for row in data.read_jsonl(role)]
            tables.setdefault(name, {})[split or "train"] = rows
    return tables


def exported(row: Row, *, chats: bool) -> dict[str, Any]:
    """Give a row as it leaves: checks, which differ in their fields, as JSON text."""
    found = {name: json.dumps(value, ensure_ascii=False) if name == "checks" else value for name, value in row.items()}
    if chats:
        found |= {name: [{"role": who, "content": found[name]}] for name, who in ROLES.items() if name in found}
    return found


def write(path: Path, rows: Sequence[Row], columns: Sequence[str], *, chats: bool) -> None:
    """Write one file; every row has every column, null where it has no value."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        in_chats = ("messages", *(ROLES if chats else ()))
        types = dict.fromkeys(SCORES, pa.float64()) | dict.fromkeys(in_chats, pa.list_(message))
        schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)
        return
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({name: row.get(name) for name in columns}, ensure_ascii=False) + "\n")


def readme(data: Artifact, tables: Mapping[str, Mapping[str, Sequence[Row]]], suffix: str) -> str:
    """Give the card: what `datasets` must know, in YAML, and the data card below."""
    lines = ["---", *card_lines(terms(data)), "configs:"]
    for name, splits in tables.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {name}/{split}.{suffix}"]
    lines += ["---", "", data.file("card_text").read_text(encoding="utf-8")]
    return "\n".join(lines)
