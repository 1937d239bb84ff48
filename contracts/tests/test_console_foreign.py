import pytest

from align_contracts.console.foreign import foreign

TRAIN, PPO = ["--lora-rank", "--out", "--kl-coef"], {"align-x ppo": ["--gae-gamma", "--out"]}


def test_a_flag_of_another_program_is_called_by_ours_as_it_was_written():
    assert foreign("--lora_r", TRAIN) == "TRL's --lora_r is --lora-rank here"
    assert foreign("lora_r", ["lora_rank"]) == "TRL's lora_r is lora_rank here"
    assert foreign("--adapter-path", TRAIN) == "mlx-lm's --adapter-path is --out here"


def test_what_differs_is_said():
    assert foreign("--beta", TRAIN) == (
        "TRL's --beta is --kl-coef here (in the reward, not in the loss, with --controller reward_penalty)"
    )


def test_a_setting_of_another_command_is_found_there_where_this_one_has_none():
    assert foreign("--gamma", TRAIN, PPO) == "TRL's --gamma is --gae-gamma of align-x ppo"
    assert foreign("--output_dir", TRAIN, PPO) == "TRL's --output_dir is --out here"


@pytest.mark.parametrize("written", ["--seed", "--num-generations", "--frobnicate"])
def test_what_has_no_counterpart_is_left_to_others(written):
    assert foreign(written, TRAIN) is None


def test_a_name_of_no_one_program_is_found_too():
    assert foreign("--lr", ["--learning-rate"]) == "PyTorch's --lr is --learning-rate here"
    assert foreign("--steps", ["--num-iterations"]) == "Another program's --steps is --num-iterations here"
    assert foreign("--num-steps", ["--steps"]) == "Another program's --num-steps is --steps here"
