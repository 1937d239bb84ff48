import pytest
from pydantic import ValidationError

from align_sft.config import BaseConfig, TrainConfig


def test_defaults_are_the_study():
    config = TrainConfig(base="b", data="d", out="o")
    assert (config.lora_rank, config.lora_alpha / config.lora_rank, config.lora_layers) == (16, 2.0, 16)
    assert config.learning_rate == 2e-4
    assert config.batch_size * config.gradient_accumulation_steps == 16
    assert (config.epochs, config.warmup_steps, config.max_seq_length) == (3, 100, 512)
    assert config.gradient_checkpointing
    assert BaseConfig(model="m", out="o").bits == 4


def test_a_base_has_one_source():
    for wrong in ({}, {"model": "m", "embedded": True, "data": "d"}, {"embedded": True}):
        with pytest.raises(ValidationError, match="embedded"):
            BaseConfig(out="o", **wrong)


def test_unknown_settings_are_errors():
    with pytest.raises(ValidationError, match="lerning_rate"):
        TrainConfig(base="b", data="d", out="o", lerning_rate=1.0)
