import re

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from align_contracts import open_artifact
from align_eval.render import style, tables
from align_eval.render.charts import CHARTS, draw_png
from align_eval.render.findings import findings
from align_eval.render.layout import text_width, wrap
from align_eval.render.markdown import FIGURES, markdown, subtitle
from align_eval.render.panel import Panel
from align_eval.render.pdf import draw_pdf, tiles
from align_eval.render.text import duration, fixed, number, p_value, plural, run_name, share, size, span, with_sd


@pytest.fixture(scope="module")
def report(compared):
    return open_artifact(compared / "report").read_json("report")


def test_numbers_for_people():
    assert (number(0.012345), number(-1234.5), number(None), number(0.0)) == ("0.0123", "−1234", "–", "0")
    assert (fixed(-1.005, 1), span([0.1, -0.25]), span(None)) == ("−1.0", "[0.10, −0.25]", "")
    assert share(0.642, [0.585, 0.696]) == "64.2 % [58.5, 69.6]"
    assert (duration(12.34), duration(600), duration(90_000)) == ("12.3 s", "10.0 min", "25.0 h")
    assert (size(712e6), size(2.5e9), size(None)) == ("712 MB", "2.50 GB", "–")
    assert (p_value(0.0004), p_value(0.0456)) == ("< 0.001", "0.046")
    # sd 0.0077 asks for 4 decimals; 61.0 with four significant digits has 2.
    assert (with_sd(0.36748, 0.0077), with_sd(61.0, 0.0012), with_sd(5.0, 0.0)) == (
        "0.3675 ± 0.0077",
        "61.00 ± 0.00",
        "5",
    )
    assert run_name("grpo-42") == "GRPO 42"
    assert [plural(n, "seed") for n in (0, 1, 3)] == ["0 seeds", "1 seed", "3 seeds"]


def test_markdown_tables_are_whole(report):
    text = markdown(report)
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().split("\n")}
        assert len(widths) == 1
    assert all(f"figures/{name}.png" in text for name in FIGURES)
    assert "nan" not in text.lower().split()


def test_the_trade_off_table_has_every_row_of_the_study(report):
    found = [row[0] for row in tables.trade_offs(report).rows]
    for name in (
        "Variance", "Training stability", "Peak memory", "Compute per iteration", "Convergence speed", "Final win rate",
        "Hyperparameter sensitivity", "Implementation complexity", "Sample efficiency",
    ):  # fmt: skip
        assert any(one.startswith(name) for one in found)


def test_findings_state_the_numbers(report):
    text = " ".join(findings(report))
    assert f"{100 * report['pooled']['all']['win_rate_decided']:.1f} %" in text
    assert fixed(report["effect"]["cohens_d"]) in text
    assert "A/A row" in text
    assert len(tiles(report)) == 5


def test_the_proofs_of_every_training_are_a_table(report):
    proved = {
        "verdict": "incomplete", "tensors": 28, "alive": 14, "waiting": ["a"] * 14, "live_updates": 1,
        "first_ratio_error": 2.54e-7, "first_ratio_error_max": 0.00153, "ratio_tolerance": 0.02,
    }  # fmt: skip
    whole = {**proved, "verdict": "complete", "waiting": [], "alive": 28, "first_ratio_error": None}
    listed = [
        ("sft", None),
        ("rm", {**whole, "first_ratio_error_max": None, "ratio_tolerance": None}),
        ("ppo-7", proved),
    ]
    table = tables.certificates({"certificates": [{"label": k, "certificate": v} for k, v in listed]})
    assert table.rows == [
        ("SFT", "–", "–", "–", "–", "–", "–", "not recorded"),
        ("Reward model", "28", "28", "1", "–", "–", "–", "complete"),
        ("PPO 7", "28", "14", "1", "2.5e−07", "0.02", "0.0015", "incomplete, 14 waiting"),
    ]
    text = markdown(report)
    for name in ("SFT", "Reward model", *(f"{m} {s}" for m in ("PPO", "GRPO") for s in (42, 123, 777))):
        assert re.search(rf"^\| {name} \|.*\| complete \|$", text, flags=re.M), name


def test_one_seed_is_no_plural(report):
    one = {
        m: {**found, "seeds": [42], "win_rate": {**found["win_rate"], "sd": None}}
        for m, found in report["methods"].items()
    }
    said = findings({**report, "methods": one})[1]
    assert said.startswith("Over 1 seed each, PPO wins ")
    assert "±" not in said
    assert tiles({**report, "methods": one})[0][2] == "of decided pairs won, 1 seed"
    uneven = {"ppo": one["ppo"], "grpo": report["methods"]["grpo"]}
    assert findings({**report, "methods": uneven})[1].startswith("Over 1 and 3 seeds, ")
    assert subtitle({**report, "runs": report["runs"][:1]}).startswith("1 run, ")


@pytest.mark.parametrize(
    ("cell", "lines"), [("0.07452 ± 0.00047", ["0.07452", "±", "0.00047"]), ("61 ± 2", ["61\u00a0±\u00a02"])]
)
def test_a_number_too_wide_for_its_cell_breaks_at_its_sd(cell, lines):
    assert wrap(cell, text_width("0.07452", 8.0) + 1, 8.0) == lines


def test_wrap_keeps_to_the_width_and_loses_nothing():
    text = "the quick brown fox takes 60 % of 3.0 ± 0.1 and a-very-long-word-that-does-not-fit-anywhere-at-all"
    lines = wrap(text, 80.0, 8.0)
    assert all(text_width(line, 8.0) <= 80.0 for line in lines)
    assert "".join(lines).replace("\u00a0", "").replace(" ", "") == text.replace(" ", "")
    assert any("60\u00a0%" in line for line in lines)
    assert wrap("", 80.0, 8.0) == [""]


def test_pdf_and_pictures_are_the_same_bytes_each_time(report, tmp_path):
    for name in ("a.pdf", "b.pdf"):
        draw_pdf(report, tmp_path / name)
    data = (tmp_path / "a.pdf").read_bytes()
    assert data == (tmp_path / "b.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"CreationDate" not in data
    draw_png("win_rates", report, tmp_path / "a.png")
    draw_png("win_rates", report, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", CHARTS)
def test_no_text_of_a_chart_leaves_the_picture_or_covers_another(report, name):
    chart, extent = CHARTS[name]
    # Measured inside the context: matplotlib chooses ticks by the font size that is set at that time.
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=extent(report))
        canvas = FigureCanvasAgg(figure)
        chart(Panel.whole(figure), report)
        canvas.draw()
        boxes = [found for ax in figure.axes for found in _texts(ax)]
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text
    for i, (text, box) in enumerate(boxes):
        for other, second in boxes[:i]:
            assert not box.padded(-0.5).overlaps(second.padded(-0.5)), (text, other)


def _texts(ax):
    """Every text of an axes that is seen, with its box; ticks beyond the limits are not drawn."""
    labels = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        place = 0 if axis is ax.xaxis else 1
        labels += [t for t in axis.get_ticklabels() if min(low, high) <= t.get_position()[place] <= max(low, high)]
    return [(label.get_text(), label.get_window_extent()) for label in labels if label.get_text()]


def test_a_sparse_report_is_drawn_too(report, tmp_path):
    """One method, unscored answers, nothing decided, no evaluation points: no chart or table may fail."""
    runs = []
    for run in report["runs"][:1]:
        nothing = dict.fromkeys(
            ("win_rate_decided", "wilson", "reward_mean", "reward_gain", "reward_gain_interval", "kl", "perplexity",
             "training_seconds", "peak_memory_bytes", "convergence_iteration", "length_ratio")
        )  # fmt: skip
        runs.append({**run, **nothing, "convergence_reason": "the judge is not offline"})
    sparse = {
        **report, "runs": runs, "methods": {"ppo": report["methods"]["ppo"]}, "aa": None, "small_numbers": None,
        "effect": {**dict.fromkeys(report["effect"]), "metrics": {}, "reason": "needs two methods"},
        "curves": {runs[0]["label"]: {"points": [], "win_rate": [], "targets": []}},
    }  # fmt: skip
    draw_pdf(sparse, tmp_path / "sparse.pdf")
    for name in CHARTS:
        draw_png(name, sparse, tmp_path / f"{name}.png")
    assert "needs two methods" in markdown(sparse)
