from align_rl.dashboard.braille import draw
from align_rl.dashboard.curves import Curve, Panel


def lines(panel, width, height):
    return ["".join(cell[0] for cell in line) for line in draw(panel, width, height)]


class Bounded(Panel):
    """A panel whose axes are 0 to 3 upwards and 0 to 1 across: one cell."""

    x, y = (0.0, 1.0), (0.0, 3.0)


def test_a_rising_line_in_one_cell():
    # From the lower left dot (0, 3) to the upper right one (1, 0) in three steps: x = 0, 1/3, 2/3, 1, so 0, 0, 1, 1.
    # Dots: left column rows 3 and 2 (bits 40 and 04), right column rows 1 and 0 (10 and 08): 5c.
    assert lines(Bounded("", "", (Curve("a", "ppo", 0, [(0, 0), (1, 3)]),)), 1, 1) == [chr(0x285C)]


def test_a_single_point_is_one_dot():
    assert lines(Bounded("", "", (Curve("a", "ppo", 0, [(0, 3)]),)), 1, 1) == [chr(0x2801)]


def test_shared_cells_are_dealt_out_in_turn_and_a_target_takes_none():
    flat = [(0, 3), (1, 3)]
    runs = Curve("a", "ppo", 0, flat), Curve("b", "grpo", 1, flat)
    panel = Bounded("", "", (Curve("target", "target", 0, flat), *runs))
    both = chr(0x2800 | 0x01 | 0x08)  # the upper dots of a cell
    assert draw(panel, 3, 1) == [[(both, "ppo", 0), (both, "grpo", 1), (both, "ppo", 0)]]
    assert draw(Bounded("", "", panel.curves[:1]), 1, 1)[0][0][1] == "target"


def test_every_line_has_the_width_asked_for():
    panel = Panel("", "", (Curve("a", "ppo", 0, [(1, -5.0), (800, 1e9)]),))
    drawn = draw(panel, 40, 7)
    assert len(drawn) == 7
    assert {len(line) for line in drawn} == {40}
    assert drawn[-1][0][0] != " "
    assert drawn[0][-1][0] != " "
