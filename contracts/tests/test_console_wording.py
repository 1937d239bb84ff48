import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from align_contracts.console.wording import plain


class Settings(BaseModel):
    model_config = {"extra": "forbid"}

    count: int = 1
    share: float = Field(0.5, lt=1, allow_inf_nan=False)
    switch: bool = False
    names: tuple[str, ...] = Field(("a",), min_length=1)
    word: str = "x"

    @field_validator("word")
    @classmethod
    def _known(cls, word: str) -> str:
        if word == "y":
            raise ValueError("expected x, not y")
        return word


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": "x"}, "expected a whole number"),
        ({"count": 1.5}, "expected a whole number"),
        ({"share": "x"}, "expected a number"),
        ({"share": float("nan")}, "expected a finite number"),
        ({"share": 2}, "expected less than 1"),
        ({"switch": "maybe"}, "expected true or false"),
        ({"names": ()}, "expected at least 1"),
        ({"word": "y"}, "expected x, not y"),
        ({"word": 5}, "expected text"),
        ({"worde": "x"}, "there is no such setting"),
    ],
)
def test_what_is_wrong_is_said_without_jargon(given, said):
    with pytest.raises(ValidationError) as caught:
        Settings(**given)
    assert [plain(error) for error in caught.value.errors()] == [said]
