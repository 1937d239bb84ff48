import io

import pytest

import console_example as example
from align_contracts.console.fields import flags_of
from align_contracts.console.help import command_help, program_help, styled


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


def page(config=example.Train) -> str:
    return command_help("align-x train", "Train.", flags_of(config), ("rl", "ppo"), ("align-x train --sft s",))


def test_a_command_s_page_has_flags_defaults_groups_sections_and_examples():
    text = page()
    assert text.startswith("Usage: align-x train --sft PATH [flags]\n\nTrain.\n\nRequired:\n")
    assert "  --sft, --actor-model PATH  Where the run starts.\n" in text
    assert "\nRollout:\n  --K N                      Responses per prompt. [6]\n" in text
    assert "  --[no-]whiten              Normalise advantages. [on]\n" in text
    assert "  --kl-targets X,…           KL targets. [0.05,0.02]\n" in text
    assert "--weights" not in text  # a table is given in a recipe only
    assert "\nRunning:\n  --[no-]progress            Show progress. [off]\n" in text
    assert "Recipe sections read, in order: [rl], [ppo]." in text
    assert text.endswith("Examples:\n  align-x train --sft s")


def test_positionals_stand_in_the_usage_line():
    assert page(example.Compare).startswith("Usage: align-x train JUDGMENTS … --out PATH\n")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for text in (page(), program_help("align-x", "word " * 60, [("train", "Trains. " * 20)])):
        rows = [line for line in text.splitlines() if not line.startswith("'align-x")]
        assert max(map(len, rows)) <= max(columns, 54)  # 54 = the widest left part + the narrowest text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert styled("x", "error", Terminal()) == "\x1b[1;31mx\x1b[0m"
    assert styled("x", "error", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert styled("x", "error", Terminal()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", "error", Terminal()) == "x"
