"""How every console script begins: quiet under Ctrl-C while Python still reads modules, which takes a second.

It stands beside the packages and needs nothing but the standard library: what a package defines comes after everything
that the package imports.
"""

import signal
from collections.abc import Callable
from functools import partial
from importlib import import_module

__all__: list[str] = []


def __getattr__(name: str) -> Callable[[], int]:
    """Give the console script of a package: ``align_start:align_sft`` is ``align_sft.cli:main``."""
    if not name.startswith("align_"):
        raise AttributeError(name)
    return partial(begin, f"{name}.cli")


def begin(module: str) -> int:
    """Import a module and be its ``main``.

    There is nothing yet that a signal could harm, so it ends the process as the system does, without a traceback.
    `main` listens; after it there is nothing to harm again.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    code: int = import_module(module).main()
    return code
