from __future__ import annotations

import pytest

from align_data.categories import CATEGORIES, FALLBACK, RULES, assign, explain

# Labelled by hand from what each prompt asks for, in the styles real preference sets are made of:
# short questions, chat, benchmark templates, long tasks.
LABELLED = {
    "factual": [
        "What is the boiling point of ethanol?",
        "who wrote the first novel in japanese",
        "Explain how vaccines train the immune system.",
        "Hi! Could you please tell me when the Suez canal was opened?",
        "Is it true that goldfish have a memory of three seconds?",
        "I've got a fever since yesterday and my throat is sore. Should I see a doctor?",
        "Calculate the area of a circle with radius 7 cm.",
        "Tom has 5 apples and buys 7 more. He gives 3 away. How many apples does he have?",
        "Water boils at\nA. 50 degrees B. 100 degrees C. 150 degrees D. none of these",
        "Describe the main causes of the First World War.",
        "Why don’t spiders stick to their own webs?",
        "I'd like to know how a heat pump works.",
    ],
    "instruction": [
        "Summarize the plot of Hamlet in three sentences.",
        "Please rewrite this email so that it sounds more polite: Give me the report now.",
        "Translate to Spanish: The weather is nice today.",
        "Write a Python function that reverses a linked list.",
        "Can you write me a script in bash that deletes old logs?",
        "Give me a list of ten vegetarian dinners for a family of four.",
        "You are given a tweet. Classify it as positive or negative. Tweet: what a day!",
        "In this task, you're shown a passage and must count its vowels. Passage: the sea. How many are there?",
        "Detailed instructions: read the question and pick the right option. Q: where do cows live?",
        "Design a two week training plan for a 5 km run.",
        "Convert the following table to CSV: name age Ann 3",
        "Fix this:\n```\nprint 'a'\n```",
        "I want you to act as a travel guide and plan a day in Rome.",
        "Give a brief summary of the story of Moby Dick.",
    ],
    "creative": [
        "Write a short story about a lighthouse keeper who finds a letter.",
        "compose a haiku on autumn rain",
        "Can you make up a funny limerick about my cat?",
        "Imagine you are a dragon who is afraid of fire. Describe your morning.",
        "Come up with a catchy slogan for a bakery.",
        "What if dinosaurs had never died out?",
        "As a pirate, tell me how you spend your day.",
        "Write a dialogue between a toaster and a fridge.",
        "Pretend to be a medieval knight at a job interview.",
        "Please write lyrics for a song about growing up by the sea, in the style of a sea shanty.",
        "Tell me a joke about programmers.",
    ],
}


@pytest.mark.parametrize(("text", "category"), [(text, name) for name, texts in LABELLED.items() for text in texts])
def test_prompts_labelled_by_hand(text: str, category: str) -> None:
    assert explain(text)[0] == category, explain(text)[1]


def test_every_rule_decides_some_prompt() -> None:
    used = {explain(text)[1] for texts in LABELLED.values() for text in texts}
    assert {rule.name for rule in RULES} <= used


@pytest.mark.parametrize("text", ["", "   ", "42", "ok", "Ünïcödé 汉字", "I have a cold."])
def test_what_no_rule_knows_is_an_instruction(text: str) -> None:
    assert explain(text) == ("instruction", FALLBACK)


def test_case_blanks_and_courtesy_do_not_matter() -> None:
    assert explain("WHAT is   love") == explain("Hello there! Could you please, what is love")


def test_the_middle_of_a_long_prompt_is_not_read() -> None:
    quoted = "It was a dark night. " * 40
    assert explain(f"Summarize this text. {quoted} Who was it? {quoted}")[0] == "instruction"
    assert explain(f"{quoted} Who was it?")[0] == "factual"  # its closing is


def test_assign_prefers_the_source(make_prompt) -> None:
    given = [
        make_prompt("What is love?", category="creative"),
        make_prompt("What is war?", category=""),
        make_prompt("What is peace?", category="something else"),
    ]
    assert [prompt.category for prompt in assign(given)] == ["creative", "factual", "factual"]
    assert {prompt.category for prompt in assign(given)} <= set(CATEGORIES)
