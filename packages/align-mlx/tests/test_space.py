import mlx.core as mx

from align_mlx.settings import ResumeSettings
from align_mlx.space import training_parts
from align_mlx.train_state import TrainState


def test_a_checkpoint_is_parameters_and_two_moments_in_fp32():
    state = TrainState.start({"a": mx.zeros((8, 16)), "b": mx.zeros((32,))})
    # 8 · 16 + 32 = 160 numbers of 4 bytes; four kept and one in the making, each of three such
    found = training_parts(state, ResumeSettings(keep_checkpoints=4))
    assert found == {"the adapter": 640, "4 + 1 checkpoints": 5 * 3 * 640}
    assert training_parts(state, ResumeSettings(), best=True)["2 + 1 checkpoints"] == 3 * 4 * 640


def test_a_saved_state_is_as_large_as_said(tmp_path):
    state = TrainState.start({"a": mx.zeros((512, 512))})
    (tmp_path / "state").mkdir()
    state.save(tmp_path / "state")
    size = sum(path.stat().st_size for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert 1.0 <= size / (3 * 4 * 512 * 512) < 1.01  # arrays, and a little beside them
