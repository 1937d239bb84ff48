import re
from importlib.resources import files

from align_rl.code_size import OWN, code_lines, method_lines

SOURCE = '''"""A module.

Says what it holds."""

import math  # 1


# a comment
def area(r):  # 2
    """Give the area."""
    return (  # 3
        math.pi  # 4
        * r**2  # 5
    )  # 6


NOTE = """two
lines"""  # 7, 8
'''


def test_only_lines_with_code_count():
    assert code_lines(SOURCE) == 8


def test_both_methods_have_a_size():
    assert all(50 < method_lines(method) < 300 for method in OWN)


def test_own_files_are_what_the_other_method_does_not_import():
    # Everything of align_rl.algorithms that a method imports and no other module of align_rl does.
    package = files("align_rl")
    imports = {}
    for path in sorted(package.rglob("*.py")):
        found = re.findall(r"from align_rl\.algorithms\.(\w+) import", path.read_text(encoding="utf-8"))
        imports[str(path.relative_to(package))] = {f"algorithms/{name}.py" for name in found}
    for method, own in OWN.items():
        module = f"methods/{method}.py"
        config_only = {"config.py", *own}  # the settings name a type of it; its own files may use each other
        others = set().union(*(names for path, names in imports.items() if path not in {module, *config_only}))
        assert set(own) == {module, *(imports[module] - others)}
