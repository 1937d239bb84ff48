r"""Chat templates in the formats of four model families, each with the tokens that it needs.

One user turn and its answer look like this (``\n`` is a line break):

* Gemma: ``<bos><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n``
* Llama 3: ``<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>…assistant…\n\nA<|eot_id|>``
* Llama 3.2: the same behind a system turn, which tells a date: today's
* Qwen 2: ``<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n`` behind a system turn
* Qwen 3: the same without it, but an empty thought ``<think>\n\n</think>\n\n`` stands before A, though not in answers
  before the last question, and in the generation prompt only with ``enable_thinking=False``
* Mistral: ``<s>[INST] Q[/INST] A</s>``, whose generation prompt is nothing
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ChatTemplate:
    """A template and its tokens.

    Attributes:
        jinja: the template; None for a tokenizer without one.
        special: the special tokens; the position is the id.
        added: tokens that are matched in any text, but are not special: line breaks, thought marks.
        words: the words that the template itself writes.
        bos, eos, pad: the tokens with these roles; there need not be a `bos`.
        ends: tokens that end a text, those of the config's ``eos_token_id``.
    """

    jinja: str | None
    special: tuple[str, ...]
    added: tuple[str, ...]
    words: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str
    ends: tuple[str, ...]

    def id(self, token: str) -> int:
        """Give the id of a special token, the same in every tokenizer made for this template."""
        return self.special.index(token)


GEMMA = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    special=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    added=("\n",),
    words=("user", "model"),
    bos="<bos>",
    eos="<eos>",
    pad="<pad>",
    ends=("<eos>", "<end_of_turn>"),
)

LLAMA3 = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    added=("\n\n", "\n"),
    words=("user", "assistant"),
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    pad="<|end_of_text|>",
    ends=("<|end_of_text|>", "<|eot_id|>"),
)

LLAMA32 = replace(
    LLAMA3,
    jinja="{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: {{ strftime_now('%d %b %Y') }}\n\n<|eot_id|>"
    + LLAMA3.jinja.removeprefix("{{ bos_token }}"),
    words=(*LLAMA3.words, "system", "Cutting", "Knowledge", "Date:", "December", "2023", "Today", "26", "Jul", "2024"),
)

QWEN2 = ChatTemplate(
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    added=("\n\n", "\n"),
    words=("system", "user", "assistant", "You", "are", "a", "helpful", "assistant."),
    bos=None,
    eos="<|im_end|>",
    pad="<|endoftext|>",
    ends=("<|im_end|>", "<|endoftext|>"),
)

QWEN3 = ChatTemplate(
    "{% set last = namespace(question=-1) %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{% set last.question = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}"
    "{% set thought, closed, answer = m['content'].rpartition('</think>') %}"
    "{% if loop.index0 > last.question %}"
    "{{ '<think>\\n' + thought.split('<think>')[-1].strip('\\n') + '\\n</think>\\n\\n' }}"
    "{% endif %}{{ answer.lstrip('\\n') }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    added=("\n\n", "\n", "<think>", "</think>"),
    words=("system", "user", "assistant"),
    bos=None,
    eos="<|im_end|>",
    pad="<|endoftext|>",
    ends=("<|im_end|>", "<|endoftext|>"),
)

MISTRAL = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}",
    special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
    added=("\n",),
    words=(),
    bos="<s>",
    eos="</s>",
    pad="</s>",
    ends=("</s>",),
)

TEMPLATES = {"gemma": GEMMA, "llama3": LLAMA3, "qwen2": QWEN2, "qwen3": QWEN3, "mistral": MISTRAL}
