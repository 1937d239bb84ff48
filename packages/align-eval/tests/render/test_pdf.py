from align_eval.render.build import document
from align_eval.render.paper import HEIGHT
from align_eval.render.pdf import draw_pdf


def test_a_pdf_names_no_time_and_has_pages(made, tmp_path):
    draw_pdf(made, tmp_path / "a.pdf")
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"CreationDate" not in data
    assert data.count(b"/Type /Page ") >= 6


def test_no_page_is_half_empty(made, tmp_path):
    """Every page but the last is filled to its lower third."""
    filled = draw_pdf(made, tmp_path / "a.pdf")
    assert min(filled[:-1]) > 0.6 * HEIGHT
    assert max(filled) <= HEIGHT - 40


def test_a_sparse_report_is_drawn_too(sparse, tmp_path):
    draw_pdf(document(sparse), tmp_path / "sparse.pdf")
    assert (tmp_path / "sparse.pdf").stat().st_size > 10_000
