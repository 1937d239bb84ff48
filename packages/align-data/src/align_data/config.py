"""Settings of `align-data build` and `align-data export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from align_contracts import console
from align_contracts.hub_names import HUB, means_path, require_directory
from align_data.categories import CATEGORIES
from align_data.directory import EXPECTED, source_name
from align_data.source import EMBEDDED

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(?:@.+)?")
_SIZES: JsonDict = {"group": "Sizes"}


class BuildConfig(BaseModel):
    """What `align-data build` needs to know; the defaults are the study's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path = console.runtime(..., "directory of the dataset artifact to write")
    source: str = Field(
        "embedded",
        description="`embedded`, `hf:NAME[@REVISION]` or OWNER/NAME on the hub, or a directory: parquet, JSONL, or "
        "saved by `datasets`",
        min_length=1,
    )
    train_split: str = Field("train_prefs", description="the source's training split", min_length=1)
    test_split: str = Field("test_prefs", description="the source's held-out split; it may be absent", min_length=1)
    license: str | None = Field(None, description="licence to record; by default what the source states")
    embedded_prompts: Annotated[int, Field(ge=1)] = Field(
        6000, description="prompts the embedded world makes; of no effect for other sources"
    )
    seed: int = Field(42, description="seed of the sample, of the split and of the embedded world")
    target_size: int = Field(10_000, description="rows sampled for all splits but test", ge=1, json_schema_extra=_SIZES)
    score_bins: int = Field(
        10, description="bins of score_chosen that the sample is stratified by", ge=1, json_schema_extra=_SIZES
    )
    validation: int = Field(200, description="prompts for evaluation during training", ge=0, json_schema_extra=_SIZES)
    calibration: int = Field(
        200, description="prompts for temperature and reward scale", ge=0, json_schema_extra=_SIZES
    )
    gold: int = Field(1000, description="prompts for an independent gold reward model", ge=0, json_schema_extra=_SIZES)
    test: int = Field(300, description="held-out prompts, one third of each category", ge=0, json_schema_extra=_SIZES)
    overwrite: bool = console.runtime(False, "replace an artifact that is already there")
    quiet: bool = console.runtime(False, "show no progress")

    def require_source(self) -> None:
        """Raise MissingError where the source is a directory that is not there."""
        if self.source != EMBEDDED and not self.source.startswith(HUB):
            require_directory(self.source, EXPECTED)

    def identity(self) -> Self:
        """Give the settings as the artifact records them: a source by its name, without revision or path."""
        source = self.source
        if source.startswith(HUB):
            source = source.partition("@")[0]
        elif source != EMBEDDED:
            source = source_name(Path(source))
        return self.model_copy(update={"source": source})

    @field_validator("source")
    @classmethod
    def _hub_name(cls, value: str) -> str:
        """Read OWNER/NAME, where it can be no path, as a name of the hub."""
        return HUB + value if _NAME.fullmatch(value) and not means_path(value) else value

    @field_validator("test")
    @classmethod
    def _thirds(cls, value: int) -> int:
        if value % len(CATEGORIES):
            raise ValueError(f"expected a multiple of {len(CATEGORIES)}, one third for each category")
        return value


class ExportConfig(BaseModel):
    """What `align-data export` needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = console.runtime(..., "dataset artifact")
    out: Path = console.runtime(..., "directory to write")
    overwrite: bool = console.runtime(False, "replace an earlier export")
    format: Literal["parquet", "jsonl"] = Field("parquet", description="form of the files")
    chats: bool = Field(
        True, description="write prompts and answers as chats, as TRL's trainers take them; otherwise as plain text"
    )
    quiet: bool = console.runtime(False, "do not say what was written")
