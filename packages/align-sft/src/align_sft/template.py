"""A chat template that writes the same text every day.

Some templates (Llama 3.2) write today's date. SFT of Friday and RL of Saturday would then not have the same prompts,
and a run that goes on after midnight would not be the same run. So a base is stored with one date for good, and what
is exported from it is asked as it was trained.
"""

import re
from datetime import date

from align_contracts.errors import ConfigError

DATE = date(2024, 7, 26)
"""The date: the one that Llama 3.2's template names where it is told none."""
_NOW = re.compile(r"""strftime_now\(\s*(["'])(?P<format>[^"'{}]*)\1\s*\)""")


def with_one_date(template: str) -> str:
    """Write `DATE` where a template asks for today's.

    Args:
        template: Jinja text.

    Returns:
        The template with each call ``strftime_now("…")`` replaced by its text on that date.

    Raises:
        ConfigError: it asks in a way that cannot be replaced.
    """
    fixed = _NOW.sub(lambda call: f'"{DATE.strftime(call["format"])}"', template)
    if "strftime_now(" in fixed:
        raise ConfigError(
            "the chat template writes today's date, so prompts would change from day to day",
            expected='strftime_now("FORMAT")',
            do="write a date in its place in a local copy of the model",
        )
    return fixed
