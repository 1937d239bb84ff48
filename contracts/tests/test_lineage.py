import itertools
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import MissingError, publish
from align_contracts.artifact import open_artifact
from align_contracts.lineage import Lineage, check, draw, find_artifacts, find_cycle, trace


def test_a_whole_run_is_closed_and_drawn_in_the_order_of_making(finished_run):
    graph = trace(find_artifacts(finished_run))
    assert graph.problems == []
    assert len(graph.artifacts) == 9
    rows = [line.split() for line in draw(graph).splitlines()]
    # Each artifact hangs below its input with the longest history; depth = number of ancestors on the way.
    names = [next(word for word in row if word[0].isalpha()) for row in rows]
    assert names == [
        "data",
        "base",
        "sft",
        "responses-sft",
        "rm",
        "ppo-42",
        "responses-ppo-42",
        "judgments-ppo-42",
        "report",
    ]
    columns = [line.index(name) for line, name in zip(draw(graph).splitlines(), names, strict=True)]
    assert columns == [0, 3, 6, 9, 9, 12, 15, 18, 21]
    assert rows[2][-2:] == ["(+", "data)"]
    assert "policy (ppo)" in draw(graph)


def test_one_artifact_brings_its_ancestors(finished_run):
    graph = trace([finished_run / "rm"])
    assert {artifact.name for artifact in graph.artifacts.values()} == {"data", "base", "sft", "rm"}


def test_a_missing_input_is_shown_and_told(run):
    shutil.rmtree(run / "base")
    graph = trace(find_artifacts(run))
    assert len([p for p in graph.problems if "input 'base'" in p]) == 5  # sft, rm, ppo-42 and two responses
    assert "(missing: base base)" in draw(graph)


def test_a_damaged_artifact_is_a_problem(run):
    (run / "rm" / "config.json").unlink()
    graph = trace(find_artifacts(run))
    assert any("rm/config.json: missing" in problem for problem in graph.problems)


def test_two_bases_and_two_tokenizers(run, make):
    make(run / "base-2", "base_model", parameters=9)
    with publish(run / "sft-2", "policy", producer="a", config={}) as draft:
        draft.details = {**open_artifact(run / "sft").raw["details"], "adapters": []}
        draft.tokenizer_digest = "b" * 64
    problems = trace(find_artifacts(run)).problems
    assert len(problems) == 2
    assert problems[0].startswith("more than one base model: ")
    assert "in base; " in problems[0]
    assert "in base-2" in problems[0]
    assert problems[1].startswith("more than one tokenizer: ")
    assert "bbbbbbbbbbbb in sft-2" in problems[1]


def test_a_cycle_is_told_and_can_be_drawn(finished_run):
    """Digests make one impossible to write, so it is made here from two real artifacts and edges that never were."""
    data, base = (open_artifact(finished_run / name) for name in ("data", "base"))
    one, two = data.content_digest, base.content_digest
    graph = Lineage({one: data, two: base}, {one: [("a", two)], two: [("b", one)]})
    assert check(graph) == ["the lineage has a cycle: data → base → data"]
    draw(graph)  # ends


def test_many_inputs_are_counted_by_kind(tmp_path, make):
    judged = [make(tmp_path / f"j{i}", "judgments", wins=i) for i in range(6)]
    ppo = make(tmp_path / "ppo", "policy")
    make(tmp_path / "report", "report", {"judgments": judged, "policies": [ppo]})
    line = next(line for line in draw(trace([tmp_path / "report"])).splitlines() if "report" in line)
    assert line.endswith("(+ 5 judgments, 1 policy)")  # one of the seven is drawn above it


def test_find_artifacts(run, tmp_path):
    assert find_artifacts(run / "sft") == [run / "sft"]
    assert [path.name for path in find_artifacts(tmp_path)][:2] == ["base", "data"]
    (tmp_path / "link").symlink_to(run / "sft")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert tmp_path / "link" in find_artifacts(tmp_path)
    (run / "sft").rename(run / ".hidden")
    assert len(find_artifacts(run)) == 8
    for path in (tmp_path / "absent", run / "data" / "rows.jsonl", run / "data" / "notes"):
        with pytest.raises(MissingError):
            find_artifacts(path)


def test_find_cycle():
    assert find_cycle({}) == []
    assert find_cycle({"a": ["b", "c"], "b": ["c"], "c": ["leaf"]}) == []
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({"s": ["a"], "a": ["x", "b"], "b": ["c"], "c": ["a"]}) == ["a", "b", "c", "a"]


@given(st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=4), max_size=7))
def test_find_cycle_agrees_with_the_reachability_closure(edges):
    edges = {str(key): [str(to) for to in ends] for key, ends in edges.items()}
    reach = {key: set(ends) for key, ends in edges.items()}
    for _ in edges:  # Warshall, slowly: grow the sets until each path of any length is in
        for ends in reach.values():
            ends |= {far for near in ends for far in reach.get(near, ())}
    cycle = find_cycle(edges)
    assert bool(cycle) == any(key in ends for key, ends in reach.items())
    for here, following in itertools.pairwise(cycle):
        assert following in edges[here]
