"""The lineage of artifacts: the graph of inputs, what must hold in it, and a drawing of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_contracts.artifact import Artifact, open_artifact, resolve_input
from align_contracts.errors import AlignError, MissingError
from align_contracts.licences import licence
from align_contracts.nearby import nearby, unfinished
from align_contracts.paths import MANIFEST, SIDECAR, printable

MAX_SEARCH_DEPTH = 4
_MAX_EXTRA_NAMES = 4


@dataclass
class Lineage:
    """A graph of artifacts.

    Attributes:
        artifacts: by content digest; of equal ones, the first that was met.
        edges: for each digest, its inputs as (role, digest), in recorded order.
        missing: for each digest, the inputs that were not found, as "role name".
        problems: one sentence for each thing that does not hold.
    """

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    edges: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def is_artifact(path: Path) -> bool:
    """Say whether a directory claims to be an artifact: it has a manifest or its sidecar."""
    return os.path.exists(path / MANIFEST) or os.path.exists(path / SIDECAR)


def find_artifacts(path: Path) -> list[Path]:
    """Return the artifact directories at or below a path, sorted; hidden directories are not searched.

    Raises:
        MissingError: when the path does not exist, or holds no artifact.
    """
    if not os.path.exists(path):  # False too for a name that no file system can have
        raise MissingError(f"{path}: no such path", do=nearby(path))
    found = _search(path, MAX_SEARCH_DEPTH)
    if not found:
        raise MissingError(f"{path}: no artifact here", expected=f"directories with a {MANIFEST}", do=unfinished(path))
    return found


def trace(paths: Iterable[Path]) -> Lineage:
    """Open artifacts and, from input to input, everything they were made from; then check the whole graph.

    The graph must be closed (every input is found, with the recorded digest) and without cycles, and all of it
    must descend from one base model, one tokenizer and one chat template.

    Args:
        paths: artifact directories.

    Returns:
        The graph, with the problems found in it; an artifact that does not verify is a problem, not an error.
    """
    graph = Lineage()
    pending: list[Artifact] = []
    for path in paths:
        try:
            pending.append(open_artifact(path))
        except AlignError as error:
            graph.problems.append(str(error))
    while pending:
        artifact = pending.pop(0)
        if artifact.content_digest in graph.artifacts:
            continue
        graph.artifacts[artifact.content_digest] = artifact
        edges = graph.edges[artifact.content_digest] = []
        for record in artifact.manifest.inputs:
            try:
                pending.append(resolve_input(artifact, record))
                edges.append((record.role, record.content_digest))
            except AlignError as error:
                graph.missing.setdefault(artifact.content_digest, []).append(f"{record.role} {record.name}")
                graph.problems.append(str(error))
    graph.problems = list(dict.fromkeys(graph.problems + check(graph)))  # one damaged input may be that of many
    return graph


def check(graph: Lineage) -> list[str]:
    """Return what does not hold in a graph: a cycle, or more than one base, tokenizer or chat template."""
    problems = []
    if cycle := find_cycle({key: [to for _, to in edges] for key, edges in graph.edges.items()}):
        names = " → ".join(graph.artifacts[key].name for key in cycle)
        problems.append(f"the lineage has a cycle: {names}")
    artifacts = list(graph.artifacts.values())
    bases = {a.content_digest: [a.name] for a in artifacts if a.kind == "base_model"}
    problems += _several("base model", bases)
    for label, attribute in (
        ("tokenizer", "tokenizer_digest"),
        ("chat template", "chat_template_digest"),
    ):
        groups: dict[str, list[str]] = {}
        for artifact in artifacts:
            if (value := getattr(artifact.manifest, attribute)) is not None:
                groups.setdefault(value, []).append(artifact.name)
        problems += _several(label, groups)
    return problems


def holds(graph: Lineage) -> str:
    """Say in a line what was found to hold in a graph without problems; a base or tokenizer only where there is one."""
    artifacts = list(graph.artifacts.values())
    facts = [f"{len(artifacts)} artifact{'s' * (len(artifacts) > 1)}: closed", "no cycle"]
    if any(artifact.kind == "base_model" for artifact in artifacts):
        facts.append("one base")
    if any(artifact.manifest.tokenizer_digest for artifact in artifacts):
        facts.append("one tokenizer")
    return ", ".join(facts)


def find_cycle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the nodes of one cycle in order, the first repeated at the end; empty when there is none.

    Args:
        edges: for each node, the nodes it points to; nodes that are no key are leaves.
    """
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            node, turn = stack.pop()
            if turn == 0:
                if node in path:
                    return [*path[path.index(node) :], node]
                if node in done:
                    continue
                path.append(node)
            following = edges.get(node, ())
            if turn < len(following):
                stack += [(node, turn + 1), (following[turn], 0)]
            else:
                path.pop()
                done.add(node)
    return []


def draw(graph: Lineage) -> str:
    """Draw a graph as a tree in the direction in which it was made, each artifact once.

    An artifact hangs below its latest input, the one with the longest history; its other inputs stand behind
    it.

    Returns:
        Lines of `name  kind  digest  (+ other inputs)`.
    """
    depth = _depths(graph)
    children: dict[str | None, list[str]] = {None: []}
    for key, edges in graph.edges.items():
        above = max((to for _, to in edges), key=lambda to: depth[to], default=None)
        children.setdefault(above, []).append(key)
    rows: list[tuple[str, str]] = []
    _draw(graph, children, None, "", rows)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {rest}".rstrip() for name, rest in rows)


def _draw(
    graph: Lineage,
    children: Mapping[str | None, list[str]],
    above: str | None,
    indent: str,
    rows: list[tuple[str, str]],
) -> None:
    below = sorted(children.get(above, []), key=lambda key: graph.artifacts[key].name)
    for i, key in enumerate(below):
        last = i == len(below) - 1
        branch, deeper = ("", "") if above is None else ("└─ ", "   ") if last else ("├─ ", "│  ")
        rows.append((indent + branch + graph.artifacts[key].name, _label(graph, key, above)))
        _draw(graph, children, key, indent + deeper, rows)


def as_json(graph: Lineage) -> dict[str, Any]:
    """Return a graph as plain JSON, for other programs.

    Returns:
        {artifacts: [{name, kind, method, content_digest, licence, inputs: [{role, name, content_digest, found}]}],
        problems: [sentence]}.
    """
    return {
        "artifacts": [
            {
                "name": artifact.name,
                "kind": artifact.kind,
                "method": getattr(artifact.details, "method", None),
                "content_digest": key,
                "licence": licence(artifact),
                "inputs": [
                    {
                        "role": record.role,
                        "name": record.name,
                        "content_digest": record.content_digest,
                        "found": record.content_digest in graph.artifacts,
                    }
                    for record in artifact.manifest.inputs
                ],
            }
            for key, artifact in graph.artifacts.items()
        ],
        "problems": list(graph.problems),
    }


def _label(graph: Lineage, key: str, above: str | None) -> str:
    artifact = graph.artifacts[key]
    method = getattr(artifact.details, "method", None)
    label = f"{artifact.kind}{f' ({method})' if method else ''}  {key[:12]}"
    if (terms := licence(artifact)) is not None:
        label += f"  licence: {printable(terms)}"
    others = [to for _, to in graph.edges[key] if to != above]
    if len(others) > _MAX_EXTRA_NAMES:
        kinds = Counter(graph.artifacts[to].kind for to in others)
        label += "  (+ " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()) + ")"
    elif others:
        label += "  (+ " + ", ".join(graph.artifacts[to].name for to in others) + ")"
    if key in graph.missing:
        label += "  (missing: " + printable(", ".join(graph.missing[key])) + ")"
    return label


def _depths(graph: Lineage) -> dict[str, int]:
    """Length of the longest history of each artifact; a cycle, already reported, counts as nothing."""
    depth: dict[str, int] = {}

    def visit(key: str, trail: frozenset[str]) -> int:
        if key in trail:
            return 0
        if key not in depth:
            depth[key] = 1 + max((visit(to, trail | {key}) for _, to in graph.edges[key]), default=0)
        return depth[key]

    for key in graph.edges:
        visit(key, frozenset())
    return depth


def _several(label: str, groups: Mapping[str, list[str]]) -> list[str]:
    if len(groups) < 2:
        return []
    parts = [f"{value[:12]} in {', '.join(sorted(names))}" for value, names in groups.items()]
    return [f"more than one {label}: {'; '.join(parts)}"]


def _search(path: Path, depth: int) -> list[Path]:
    if is_artifact(path):
        return [path]
    if depth == 0 or not path.is_dir():
        return []
    below = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [
        found for entry in below if is_artifact(entry) or not entry.is_symlink() for found in _search(entry, depth - 1)
    ]
