"""Tokenizers of every family, trained here on a few lines: what public models use, in small."""

from __future__ import annotations

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The capital of France is Paris. Answer: Paris, yes, no, maybe, 1 2 3 42\n",
    "hello world of tokens and more words\n\nhere is the end  of it all, isn't it?\tQuestion: answering\n",
] * 5
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<unk>", "</s>", "<s>"]


def byte_level(*, add_prefix_space: bool) -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen (no prefix) or RoBERTa (prefix)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def split_then_bytes() -> Tokenizer:
    """As Llama 3 and Qwen write it: a sequence of pre-tokenizers."""
    tokenizer = byte_level(add_prefix_space=False)
    words = Regex(r"\s?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def sentencepiece(scheme: str) -> Tokenizer:
    """As Llama 2 and Mistral: BPE over words that start with a blank, unknown characters as bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL + BYTES, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    blanks = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(blanks)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return tokenizer


def llama_two() -> Tokenizer:
    """As Llama 2's own file: the blank comes from the normaliser."""
    tokenizer = sentencepiece("always")
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def unigram() -> Tokenizer:
    """As T5: Unigram, an end token after every text, blanks on the left stripped."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=True, right=False)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False, initial_alphabet=list(LETTERS)
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT, which loses case and white space."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=SPECIAL, show_progress=False, initial_alphabet=list(LETTERS)
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    return tokenizer


def byte_fallback() -> Tokenizer:
    """As Gemma: no pre-tokenizer, blanks become bars, and characters that are not known become bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL + BYTES, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return tokenizer


def words_only() -> Tokenizer:
    """Whole words at blanks: a special token that stands alone is a word of the vocabulary."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=SPECIAL, show_progress=False, initial_alphabet=list(LETTERS)
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'()-"
FAMILIES = {
    "byte-level": lambda: byte_level(add_prefix_space=False),
    "byte-level with prefix": lambda: byte_level(add_prefix_space=True),
    "split, then bytes": split_then_bytes,
    "metaspace always": lambda: sentencepiece("always"),
    "metaspace first": lambda: sentencepiece("first"),
    "llama 2": llama_two,
    "unigram": unigram,
    "wordpiece": word_piece,
    "byte fallback": byte_fallback,
    "words only": words_only,
}
LOSSLESS = [
    "byte-level",
    "byte-level with prefix",
    "split, then bytes",
    "metaspace always",
    "metaspace first",
    "llama 2",
    "byte fallback",
]


@cache
def tokenizer_of(family: str) -> Tokenizer:
    return FAMILIES[family]()
