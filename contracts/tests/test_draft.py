import pytest

from align_contracts import ConfigError, VerificationError
from align_contracts.details import ReportDetails
from align_contracts.draft import Draft


@pytest.fixture
def draft(tmp_path):
    return Draft(tmp_path, "report")


def test_files_are_declared_and_their_directories_made(draft):
    path = draft.file("eval/0050.jsonl", role="eval_0050", volatile=True)
    assert path == draft.dir / "eval" / "0050.jsonl"
    assert path.parent.is_dir()
    assert not path.exists()
    assert draft.declared == {"eval/0050.jsonl": ("eval_0050", True)}


def test_the_writers_write_plain_text(draft):
    rows = ({"b": i, "a": "é"} for i in range(2))
    assert draft.write_jsonl("r.jsonl", rows, role="rows").read_bytes() == (
        '{"b": 0, "a": "é"}\n{"b": 1, "a": "é"}\n'.encode()
    )
    assert draft.write_text("t.md", "a\r\nb", role="text").read_bytes() == b"a\r\nb"
    details = ReportDetails(runs=1, methods={"ppo": (42,)})
    assert draft.write_json("d.json", details, role="d").read_text() == (
        '{\n "runs": 1,\n "methods": {\n  "ppo": [\n   42\n  ]\n }\n}\n'
    )


@pytest.mark.parametrize("path", ["/etc/x", "../x", "x.py", "x.pkl", "manifest.json"])
def test_unsafe_files(draft, path):
    with pytest.raises(VerificationError, match="unsafe path"):
        draft.file(path, role="x")


def test_taken_paths_and_roles(draft):
    draft.file("a/x.txt", role="one")
    with pytest.raises(VerificationError, match="collide"):
        draft.file("a/x.txt", role="two")
    with pytest.raises(VerificationError, match="collide"):
        draft.file("a/X.txt", role="two")
    with pytest.raises(VerificationError, match="collide"):
        draft.file("A/y.txt", role="two")
    with pytest.raises(ConfigError, match="role 'one' is taken"):
        draft.file("b.txt", role="one")
    for role in ("", "a/b", "é", "x" * 201):
        with pytest.raises(ConfigError, match="role of a file"):
            draft.file("b.txt", role=role)
    assert draft.declared == {"a/x.txt": ("one", False)}


def test_numbers_that_are_not_finite_are_refused_with_their_place(draft):
    with pytest.raises(ConfigError, match=r"r.jsonl line 2\.loss: expected a finite number, got nan"):
        draft.write_jsonl("r.jsonl", [{"loss": 1.0}, {"loss": float("nan")}], role="rows")
    with pytest.raises(ConfigError, match=r"c.json\.a: expected a finite number, got inf"):
        draft.write_json("c.json", {"a": float("inf")}, role="card")
    with pytest.raises(VerificationError, match="metric 'kl': expected a finite number, got nan"):
        draft.metric("kl", float("nan"))


def test_half_a_surrogate_pair_is_refused_with_its_place(draft):
    with pytest.raises(ConfigError, match=r"r.jsonl line 2: half of a surrogate pair, .* got '\\ud83d'"):
        draft.write_jsonl("r.jsonl", [{"a": "b"}, {"a": "cut \ud83d"}], role="rows")
    with pytest.raises(ConfigError, match=r"t.md: half of a surrogate pair"):
        draft.write_text("t.md", "\ud83d", role="text")


def test_metrics(draft):
    draft.metric("kl", 1, step=50, n=200)
    draft.metric("kl", 2.5)
    assert [(m.name, m.value, m.step, m.n) for m in draft.metrics] == [("kl", 1.0, 50, 200), ("kl", 2.5, None, None)]
    with pytest.raises(ConfigError, match="recorded twice"):
        draft.metric("kl", 3, step=50)
    with pytest.raises(ConfigError, match="metric 'win rate': name"):
        draft.metric("win rate", 1)
    with pytest.raises(ConfigError, match="step"):
        draft.metric("kl", 1, step=-1)


def test_details_are_checked_when_they_are_set(draft):
    draft.details = {"runs": 2, "methods": {"ppo": [1, 2]}}
    assert draft.details.methods == {"ppo": (1, 2)}
    draft.details = ReportDetails(runs=1, methods={})
    assert draft.details.runs == 1
    for wrong, message in (
        ({"runs": 2}, "details of a report: methods: Field required"),
        ({"runs": "2", "methods": {}}, "details of a report: runs"),
        ({"runs": 2, "methods": {}, "author": "x"}, "author: Extra inputs"),
        ({"runs": float("nan"), "methods": {}}, "expected a finite number"),
    ):
        with pytest.raises(ConfigError, match=message):
            draft.details = wrong
    assert draft.details.runs == 1
