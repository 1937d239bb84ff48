import re
from html import unescape

from align_eval.render.build import document
from align_eval.render.card import card, limits
from align_eval.render.document import Answer, Answers, Figure, Paragraph, Table, Tiles
from align_eval.render.html import page
from align_eval.render.markdown import blocks, markdown, pictures, plain


def test_tables_are_whole_and_pictures_exist(made):
    text = markdown(made)
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().split("\n")}) == 1
    named = re.findall(r"\(figures/(\w+)\.svg\)", text)
    assert sorted(named) == sorted(pictures(made))
    assert not re.search(r"\b(nan|None)\b", text)


def test_the_answer_comes_first_and_every_section_has_its_heading(made):
    text = markdown(made)
    assert text.index(made.answer.text) < text.index("## ")
    assert [line[3:] for line in text.split("\n") if line.startswith("## ")] == [
        *(section.title for section in made.sections),
        "Sources",
    ]
    for source in made.sources:
        assert f"| {source.key} | {source.name} | {source.role} | `{source.digest}` |" in text


def test_html_and_markdown_say_the_same(made):
    """Every sentence, tile and table title of the document stands in both."""
    page_text, text = unescape(page(made)).replace("\u00a0", " "), markdown(made)
    said = 0
    for section in made.sections:
        for block in section.blocks:
            for words in _said(block):
                assert words in page_text
                assert plain(words) in text
                said += 1
    assert said > 40


def _said(block):
    if isinstance(block, Paragraph):
        return [block.text]
    if isinstance(block, Tiles):
        return [words for tile in block.tiles for words in (tile.name, tile.value, tile.below)]
    return [block.title] if isinstance(block, (Table, Figure)) else []


def test_every_training_is_listed_with_its_proof(made):
    text = markdown(made)
    for name in ("SFT", "Reward model", *(f"{m} {s}" for m in ("PPO", "GRPO") for s in (42, 123, 777))):
        assert re.search(rf"^\| {name} \|.*\| complete \| \w+ \|$", text, flags=re.M), name


def test_answers_cannot_become_markup():
    answer = Answer("PPO 1", "ppo", "# no *heading*\n\n| x | <script> [a](b)", "3 tokens", "win")
    (text,) = blocks(Answers("`code`", "most won", [answer]))
    assert "\n#" not in text
    assert r"\# no \*heading\* \| x \| \<script\> \[a\]\(b\)" in text
    assert r"\`code\`" in text


def test_a_card_says_what_the_policy_is_and_is_not(report):
    text = card(report, "grpo-123")
    facts = report["policies"]["grpo-123"]
    assert text.startswith("# Model card: GRPO 123\n")
    for part in ("Made from", "Evaluation", "By category", "Hyperparameters", "Limits", "Sources"):
        assert f"## {part}\n" in text
    assert "| K | 6 |" in text
    assert facts["digest"][:24] in text
    run = next(run for run in report["runs"] if run["label"] == "grpo-123")
    low, high = run["wilson"]
    assert f"[{100 * low:.1f}, {100 * high:.1f}] | J5 |" in text


def test_a_card_repeats_the_warnings_that_name_its_run(report):
    warning = {"code": "ties", "runs": ["ppo-42"], "text": "Tie rate above 30 %."}
    changed = {**report, "warnings": [warning]}
    runs = {run["label"]: run for run in report["runs"]}
    assert "Tie rate above 30 %." in limits(changed, runs["ppo-42"])
    assert "Tie rate above 30 %." not in limits(changed, runs["ppo-123"])


def test_a_licence_is_told_where_the_manifest_has_one(report):
    facts = report["policies"]["ppo-42"]
    known = {**facts, "base": {**facts["base"], "license": "Apache-2.0"}}
    text = card({**report, "policies": {"ppo-42": known}}, "ppo-42")
    assert re.search(r"\| base model \|.*\| Apache-2.0 \|", text)


def test_a_sparse_report_is_written_too(sparse):
    text = markdown(document(sparse))
    assert "Only one method was compared with SFT" in text
    assert "the judge is not offline" in text
