import json

import pytest

from align_contracts import open_artifact
from align_contracts.licences import card_licence, card_lines, licence, licence_warnings, terms


def test_data_and_base_models_have_a_licence_of_their_own(tmp_path, make):
    data = make(tmp_path / "data", "dataset", license="CC-BY-4.0")
    base = make(tmp_path / "base", "base_model", {"dataset": data}, license=None)
    sft = make(tmp_path / "sft", "policy", {"base": base, "dataset": data})
    assert [licence(artifact) for artifact in (data, base, sft)] == ["CC-BY-4.0", "unknown", None]
    assert licence_warnings([data, sft, base, base]) == [
        "the licence of base (base_model from embedded) is not known; it is written as 'unknown'. "
        "Name it with --license when you make base"
    ]


def test_the_licences_of_the_inputs_are_in_the_manifest(tmp_path, make, capsys):
    data = make(tmp_path / "data", "dataset")
    base = make(tmp_path / "base", "base_model", {"dataset": data}, license=None)
    assert capsys.readouterr().err == ""
    sft = make(tmp_path / "sft", "policy", {"base": base, "dataset": data})
    assert capsys.readouterr().err.startswith("warning: the licence of base ")
    rm = make(tmp_path / "rm", "reward_model", {"base": base, "dataset": data, "policy": sft})
    raw = json.loads((rm.path / "manifest.json").read_bytes())
    assert {one["role"]: one["license"] for one in raw["inputs"]} == {
        "base": "unknown",
        "dataset": "MIT",
        "policy": None,
    }


def test_a_licence_is_no_part_of_the_input_s_identity(tmp_path, make):
    """An artifact's own licence is part of its details; that a consumer repeats it changes nothing for the consumer."""
    sft = make(tmp_path / "sft", "policy", {"dataset": make(tmp_path / "data", "dataset")})
    raw = json.loads((sft.path / "manifest.json").read_bytes())
    raw["inputs"][0]["license"] = "other"
    from align_contracts.manifest import content_digest

    assert content_digest(raw) == open_artifact(tmp_path / "sft").content_digest


def test_what_is_made_of_several_is_under_the_terms_of_all(tmp_path, make):
    data = make(tmp_path / "data", "dataset", license="Apache-2.0 OR MIT")
    free, silent = (make(tmp_path / str(name), "base_model", license=name) for name in ("gemma", None))
    of = lambda name, **inputs: terms(make(tmp_path / name, "policy", inputs))  # noqa: E731
    assert [terms(one) for one in (data, free, silent)] == ["Apache-2.0 OR MIT", "gemma", None]
    assert of("a", base=free, dataset=data) == "(Apache-2.0 OR MIT) AND gemma"
    assert of("b", base=silent, dataset=data) == "(Apache-2.0 OR MIT) AND unknown"
    assert of("c", base=silent) is None


@pytest.mark.parametrize(
    ("said", "read"), [("Apache-2.0", "apache-2.0"), ("gemma AND mit", "gemma-and-mit"), (None, None)]
)
def test_a_card_that_is_written_is_read(tmp_path, said, read):
    (tmp_path / "README.md").write_text("\n".join(["---", *card_lines(said), "---"]))
    assert card_licence(tmp_path) == read


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: 'apache-2.0'\n---\n", "apache-2.0"),
        ("---\ntags: x\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("---\nlicense:\n---\n", None),
        ("---\nlicense: other\nlicense_name: gemma-and-mit\n---\n", "gemma-and-mit"),
        ("---\nlicense: other\n---\nlicense_name: mine\n", "other"),
        ("", None),
    ],
)
def test_licence_of_the_card(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert card_licence(tmp_path) == licence
