"""Tokenizers of a chat template: one token a word, or byte-level BPE. Both give its special tokens the same ids."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tiny.templates import GEMMA, ChatTemplate

VOCABULARY = 64
SENTENCES = (
    "The fox runs over the hill, and the owl sleeps in the old tree.",
    "What colour has the fox? The fox is red.\n\nThe owl is brown.\n",
    "1. Put water into the pot.\n2. Wait for 10 minutes.\n\n\nThat is all.",
    "user assistant model system: you are a helpful assistant.",
    "def double(x):\n    return 2 * x\n",
)
"""What the BPE vocabulary is learnt from: words, numbers, lists, code, and line breaks alone and in runs."""


def fill_words(*own: str, chat: ChatTemplate = GEMMA) -> tuple[str, ...]:
    """Give the words of text in a vocabulary of 64 tokens: `own` first, then w0, w1, …"""
    free = VOCABULARY - len(_reserved(chat)) - len(own)
    return (*own, *(f"w{i}" for i in range(free)))


def word_tokenizer(chat: ChatTemplate = GEMMA, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """One token a word of text, split at blanks (which are lost); ids are positions in this order:

    special tokens, added tokens (line breaks …), the template's own words, `words` (`fill_words` unless given). Gemma
    has w0 at 9. Words that it does not know become ``<unk>``.
    """
    known = (*_reserved(chat), *(words or fill_words(chat=chat)))
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in chat.special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in chat.added])
    return _wrapped(tokenizer, chat, unk_token="<unk>")


def bpe_tokenizer(chat: ChatTemplate = GEMMA, merges: int = 100) -> PreTrainedTokenizerFast:
    """Byte-level BPE, learnt from `SENTENCES`: any text goes through unchanged, and tokens cross some boundaries.

    Blanks lead a word, and line breaks in a row (with blanks before them) are one piece, as in Llama's and Qwen's
    tokenizers: what an answer begins with can melt into what the template ends with.
    """
    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(pieces, "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(chat.special) + len(alphabet) + merges,
        special_tokens=[AddedToken(token, normalized=False) for token in chat.special],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    marks = [token for token in chat.added if not token.isspace()]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in marks])
    return _wrapped(tokenizer, chat)


def _reserved(chat: ChatTemplate) -> tuple[str, ...]:
    known = (*chat.special, *chat.added, *chat.words)
    return known if "<unk>" in known else (*known, "<unk>")


def _wrapped(tokenizer: Tokenizer, chat: ChatTemplate, **named: str) -> PreTrainedTokenizerFast:
    named |= {"eos_token": chat.eos, "pad_token": chat.pad}
    if chat.bos is not None:
        named["bos_token"] = chat.bos
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat.jinja, **named)
