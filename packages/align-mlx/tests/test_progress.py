from align_mlx.progress import Meter


def test_plain_lines_count_steps_and_shorten_numbers(capsys):
    with Meter("ppo seed 42", 3, unit="iteration", every=0.0) as meter:
        meter.advance(reward=1.23456789)
        meter.advance(2, kl=7)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("ppo seed 42: iteration 1/3  ")
    assert lines[0].endswith("reward 1.235")
    assert "iteration 3/3" in lines[1]
    assert lines[1].endswith("kl 7")


def test_only_the_last_line_before_time_is_up(capsys):
    with Meter("work", 5, every=1000.0) as meter:
        for _ in range(5):
            meter.advance()
    (line,) = capsys.readouterr().err.splitlines()
    assert "step 5/5" in line


def test_quiet_says_nothing_but_counts(capsys):
    with Meter("work", 2, quiet=True, every=0.0) as meter:
        meter.advance(2)
    assert meter.done == 2
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""
