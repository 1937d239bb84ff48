"""`align-data build`: open → clean → group → sort → divide → check → write, one step a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from align_contracts import publish
from align_contracts.draft import Draft
from align_contracts.errors import VerificationError
from align_contracts.licences import unlicensed
from align_contracts.paths import printable
from align_contracts.space import jsonl_bytes, require_space
from align_data import card as cards
from align_data import card_text, categories, embedded, formats, leakage
from align_data.clean import REASONS, Cleaned, clean
from align_data.config import BuildConfig
from align_data.progress import Reporter
from align_data.rows import Origin, group
from align_data.source import Source
from align_data.sources import open_source
from align_data.split import Divided, Sizes, divide


def run(config: BuildConfig) -> int:
    """Build a dataset artifact.

    Args:
        config: the settings.

    Returns:
        0.

    Raises:
        AlignError: the source cannot be read, has no usable row, or would leak; nothing is written then.
    """
    with Reporter(not config.quiet) as report:
        source = open_source(
            config.source,
            train_split=config.train_split,
            test_split=config.test_split,
            seed=config.seed,
            embedded_prompts=config.embedded_prompts,
            progress=not config.quiet,
        )
        source = replace(source, license=config.license or source.license)
        if source.license is None and not config.quiet:
            print(f"warning: {printable(unlicensed(source.name))}. Name it with --license", file=sys.stderr)
        identity = config.identity()
        with publish(
            config.out, "dataset", producer="align-data", config=identity, overwrite=config.overwrite
        ) as draft:
            cleaned = clean(_raw_rows(source, report), scored=source.scored)
            _refuse_empty(cleaned, config.source)
            grouping = group(cleaned.rows)
            found = report.track(grouping.prompts, "Sorting prompts", len(grouping.prompts))
            grouping.prompts = categories.assign(found)
            divided = divide(grouping.prompts, _sizes(config), config.seed)
            tables = formats.tables(divided.splits, sft_formats(source))
            require_space(config.out, parts(tables, source))
            checked = leakage.check(tables)
            corpus = _write_tables(draft, tables, source, divided, report)
            card = cards.build(
                source=source,
                cleaned=cleaned,
                grouping=grouping,
                divided=divided,
                tables=tables,
                leakage=checked,
                corpus=corpus,
                settings=_settings(config),
            )
            draft.write_json("card.json", card, role="card")
            draft.write_text("card.md", card_text.render(card), role="card_text")
            _describe(draft, config, source, divided, tables, corpus)
        report.close(card, str(config.out))
    return 0


def sft_formats(source: Source) -> tuple[str, ...]:
    """The SFT formats that a source can give: to write a score (`genrm`) there must be scores."""
    return formats.FORMATS if source.scored else ("chosen",)


def _raw_rows(source: Source, report: Reporter) -> Iterator[tuple[Origin, Mapping[str, Any]]]:
    """All raw rows, the training part first."""
    for part in source.parts:
        for row in report.track(part.read(), f"Reading the {part.origin} part", part.size):
            yield part.origin, row


def _refuse_empty(cleaned: Cleaned, source: str) -> None:
    """Stop when there is nothing to train on."""
    if not cleaned.read:
        raise VerificationError(f"{source} is empty", expected="preference rows", got="none")
    if not any(row.origin == "train" for row in cleaned.rows):
        why = ", ".join(f"{count} {REASONS[reason]}" for reason, count in cleaned.dropped.most_common())
        raise VerificationError(
            f"no usable training row in {source}", expected="at least 1", got=why or "held-out rows only"
        )


def parts(tables: cards.Tables, source: Source) -> dict[str, int]:
    """Give the bytes of what is written, by what they are for."""
    corpus = 0 if source.corpus is None else embedded.CORPUS_BYTES
    return {"the tables": sum(jsonl_bytes(rows) for rows in tables.values()), "the corpus": corpus}


def _sizes(config: BuildConfig) -> Sizes:
    return Sizes(
        target_rows=config.target_size,
        score_bins=config.score_bins,
        validation=config.validation,
        calibration=config.calibration,
        gold=config.gold,
        test=config.test,
    )


def _settings(config: BuildConfig) -> dict[str, Any]:
    """What the card says was asked for."""
    names = ("seed", "target_size", "score_bins", "validation", "calibration", "gold", "test")
    return {name: getattr(config, name) for name in names}


def _write_tables(draft: Draft, tables: cards.Tables, source: Source, divided: Divided, report: Reporter) -> int | None:
    """Write every table and the corpus; returns the number of texts, None without a corpus."""
    for stem, rows in report.track(tables.items(), "Writing files", len(tables)):
        draft.write_jsonl(f"{stem}.jsonl", rows, role=stem.replace("/", "_"))
    if source.corpus is None:
        return None
    test_prompts = {row.prompt for prompt in divided.splits["test"] for row in prompt.rows}
    texts = leakage.guarded_corpus(source.corpus(test_prompts), test_prompts)
    count = 0

    def rows_of_corpus() -> Iterator[dict[str, str]]:
        nonlocal count
        for text in report.track(texts, "Writing the corpus"):
            count += 1
            yield {"text": text}

    draft.write_jsonl("corpus.jsonl", rows_of_corpus(), role="corpus")
    return count


def _describe(
    draft: Draft, config: BuildConfig, source: Source, divided: Divided, tables: cards.Tables, corpus: int | None
) -> None:
    """Fill the manifest's section for datasets."""
    counts = {stem.replace("/", "_"): len(rows) for stem, rows in tables.items()}
    draft.seeds = [config.seed]
    if source.imported:
        draft.extensions["imported"] = dict(source.imported)
    draft.details = {
        "source": source.name,
        "revision": source.revision,
        "license": source.license,
        "split_seed": config.seed,
        "counts": counts if corpus is None else {**counts, "corpus": corpus},
        "categories": {name: cards.category_counts(members) for name, members in divided.splits.items()},
        "formats": sft_formats(source),
        "has_checks": any(prompt.checks for members in divided.splits.values() for prompt in members),
    }
