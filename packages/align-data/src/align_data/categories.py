"""The keyword rule that sorts real prompts into factual, instruction and creative.

- **factual** asks for knowledge: a question, or "explain", "define", "solve".
- **instruction** asks for a piece of work: rewrite, list, translate, classify, plan, program.
- **creative** asks for something invented: a story, a song, a slogan, a role, an imagined world.

The rules of `RULES` are tried in order and the first that matches decides; a prompt that matches none is an
instruction. Only the opening and the closing of a prompt are read, because what lies between is usually
quoted text. The rule is coarse on purpose: short enough to read, the same for every source, in English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from align_data.rows import Prompt

CATEGORIES = ("factual", "instruction", "creative")
"""The three categories, in the order in which they are listed everywhere."""

_OPENING, _CLOSING = 300, 200


def _either(alternatives: str) -> str:
    """One regular expression for a comma separated list of expressions."""
    return "(?:" + "|".join(part.strip() for part in alternatives.split(", ")) + ")"


_COURTESY = re.compile(
    "^"
    + _either(
        r"(?:hi|hello|hey)\b[\w ]*[,.!]+, please, kindly, let's, (?:help|assist) me(?: to)?, "
        r"(?:can|could|would|will) you(?: please| kindly)?(?! be\b| have\b| rather\b), "
        r"i(?: want|'d like| would like| need)(?: you)? to, "
        r"you (?:should|need to|have to|must|will(?: be required to| need to)?)"
    )
    + r"[\s,]+"
)
"""Openings that carry no meaning for the rule; removed again and again from the front."""

_MAKE = _either(
    "write, compose, create, craft, draft, tell, generate, invent, make, produce, come up with, give, "
    "continue, finish, complete, rewrite, turn, need, want, develop, sing, think of, pen, provide, suggest, "
    "put together, start"
)
_CODE = _either(
    "code, program, function, method, class, query, regex, regular expression, algorithm, api, html, css, "
    r"sql, python, java, javascript, typescript, rust, c\+\+, c#, ruby, bash, matlab, shell, app, "
    "bot, website, component, unit tests?"
)
_INVENTED = _either(
    "story, stories, tales?, fables?, poems?, poetry, haikus?, limericks?, sonnets?, ballads?, odes?, "
    "(?:nursery|funny) rhymes?, songs?, lyrics, rap, (?:graphic |short )novel, novel (?:about|set|in|where), "
    "novella, fiction, fan ?fic(?:tion)?, screenplay, scripts?, scene, dialogues?, monologues?, a play, "
    "skit, jokes?, puns?, riddles?, slogans?, taglines?, jingles?, punch ?lines?, pitch for, "
    "ad(?:vertisement)? copy, backstory, plot, a myth, a legend, (?:diary|journal) entr(?:y|ies), "
    "funny, humorous, witty, imaginative, creative, eulogy, satire, parody, ascii art, "
    "new word, imaginary, fictional, catch ?phrases?"
)
_ABOUT_IT = "(?:summary|explanation|analysis|description|review|list|rating|table|questions?)"
_QUESTION = _either(
    "what, whats, who, whom, whose, when, where, which, why, how, is, are, was, were, am, do, does, did, "
    "can, could, will, would, should, has, have, had, isn't, aren't, don't, doesn't"
)
_KNOW = _either(
    r"explain, define, describe, discuss, compare, solve, calculate, compute, prove, evaluate, simplify \d, "
    "name, state, answer (?:the|this|these), (?:tell|teach) (?:me|us), "
    "(?:learn|know|understand)(?: more)? (?:about|how|what|why)"
)
_WORK = _either(
    "write, re-?write, summari[sz]e, translate, classify, categori[sz]e, list, generate, create, make, give, "
    "provide, design, develop, draft, compose, convert, extract, edit, correct, fix, improve, paraphrase, "
    "simplify, shorten, expand, suggest, recommend, plan, prepare, build, implement, program, code, find, "
    "identify, choose, select, rank, sort, arrange, format, outline, propose, produce, complete, fill, add, "
    "remove, replace, change, turn, transform, organi[sz]e, schedule, brainstorm, come up with, structure, "
    "craft, review, check, verify, proofread, analy[sz]e, highlight, act as, respond, reply, use, using, "
    "take, construct, formulate, devise, (?:show|walk) me"
)
_MATERIAL = _either(
    "text, sentences?, paragraphs?, passage, article, code, data, table, email, list, information, words?"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the rule.

    Attributes:
        name: what the card and the tests call it.
        category: what a match means.
        pattern: searched in the folded opening (courtesies removed) and, after a line break, the closing.
    """

    name: str
    category: str
    pattern: re.Pattern[str]


def _rule(name: str, category: str, pattern: str) -> Rule:
    return Rule(name, category, re.compile(pattern))


RULES: tuple[Rule, ...] = (
    _rule(
        "an imagined role or world",
        "creative",
        r"^(?:imagine|pretend|role ?-?play|play the (?:role|part)|suppose you (?:are|were)|if you were)\b"
        r"|^what if\b.{0,80}\b(?:had|were|was|could|never|hadn't)\b"
        r"|^as an? [\w' -]{3,50}, ?(?:describe|narrate|recount)\b"
        r"|^as an? [\w' -]{3,50}, ?(?:tell|share|what|how|write|explain)\b.{0,60}\byou"
        r"|\bdescribe your\b|\brole-?play\b",
    ),
    _rule(
        "a program",
        "instruction",
        rf"^{_MAKE}\b(?!.{{0,60}}\b(?:poem|song|story|rap|haiku|joke)).{{0,100}}\b{_CODE}(?![\w+#])|```",
    ),
    _rule(
        "something invented",
        "creative",
        rf"^(?:.{{0,80}}[.:,;] )?{_MAKE}\b(?!(?: \S+){{0,4}} {_ABOUT_IT}\b)(?: \S+){{0,8}}? {_INVENTED}\b"
        r"|\bin the style of\b|\bpoem (?:about|for|on)\b|\bstory (?:about|where|in which)\b",
    ),
    _rule(
        "work on given material",
        "instruction",
        r"\b(?:the|this|a) given\b|\b(?:you are|are|is) given\b|\bgiven (?:the|an?|below)\b|\bin this task\b"
        rf"|\bfollowing {_MATERIAL}\b"
        r"|^(?:detailed instructions|definition|instructions?|task)\s*:",
    ),
    _rule("a question or a request for knowledge", "factual", rf"^(?:{_QUESTION}|{_KNOW})\b|\ba[.)] .{{1,80}} b[.)] "),
    _rule("a piece of work", "instruction", rf"^{_WORK}\b"),
    _rule("a question somewhere", "factual", r"\?"),
)
"""Tried in order; the first match decides."""

FALLBACK = "none of the rules"
"""The rule's name for prompts that match nothing; they are instructions."""


GIVEN = "given by the source"
"""The rule's name for prompts whose source says what they are."""


def explain(text: str) -> tuple[str, str]:
    """Sort a prompt and say why.

    Args:
        text: the prompt.

    Returns:
        Its category, and the name of the rule that decided.
    """
    folded = " ".join(text.replace("’", "'").casefold().split())
    previous = ""
    while folded != previous:
        previous, folded = folded, _COURTESY.sub("", folded, count=1)
    opening, closing = folded[:_OPENING], folded[_OPENING:][-_CLOSING:]
    read = f"{opening}\n{closing}"
    for rule in RULES:
        if rule.pattern.search(read):
            return rule.category, rule.name
    return "instruction", FALLBACK


def assign(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Give every prompt a category: the source's own when it is one of the three, else the rule's.

    Args:
        prompts: prompts as `rows.group` returns them.

    Returns:
        The same prompts in the same order, each with a category and what decided it.
    """
    assigned = []
    for prompt in prompts:
        given = prompt.category in CATEGORIES
        category, rule = (prompt.category, GIVEN) if given else explain(prompt.text)
        assigned.append(replace(prompt, category=category, rule=rule))
    return assigned
