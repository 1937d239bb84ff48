"""How much code a method takes beyond what both share: a figure of the study's trade-off table."""

import ast
import io
import tokenize
from importlib.resources import files

OWN = {
    "ppo": ("methods/ppo.py", "algorithms/ppo.py", "algorithms/gae.py"),
    "grpo": ("methods/grpo.py", "algorithms/grpo.py", "algorithms/normalizer.py"),
}
"""Source files that only one of the two methods needs."""
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def method_lines(method: str) -> int:
    """Count the lines of code of a method's own files."""
    return sum(code_lines((files("align_rl") / name).read_text(encoding="utf-8")) for name in OWN[method])


def code_lines(source: str) -> int:
    """Count the lines of Python source that hold code: no blank lines, comments or docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):  # a string that is a statement of its own says something, does nothing
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)
