import pytest
from jinja2 import Environment

from align_contracts.errors import ConfigError
from align_sft.template import with_one_date
from tiny.templates import TEMPLATES


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ('strftime_now("%d %b %Y")', "26 Jul 2024"),
        ("strftime_now( '%Y-%m-%d' )", "2024-07-26"),
        ('strftime_now("%A")', "Friday"),
        ('strftime_now("")', ""),
    ],
)
def test_the_date_is_written_for_good(call, text):
    fixed = with_one_date(f"{{% if strftime_now is defined %}}{{% set d = {call} %}}{{% endif %}}On {{{{ d }}}}.")
    assert Environment().from_string(fixed).render(strftime_now=lambda _: "today") == f"On {text}."


def test_a_template_without_a_date_is_left_alone():
    for chat in TEMPLATES.values():
        assert with_one_date(chat.jinja) == chat.jinja


def test_a_date_that_cannot_be_replaced_is_refused():
    with pytest.raises(ConfigError, match="today's date"):
        with_one_date("{{ strftime_now(how) }}")
