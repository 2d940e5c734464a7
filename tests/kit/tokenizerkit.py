"""Small tokenizers of every kind, as they are published, with texts that tell them apart."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Fast
from tokenizers import normalizers as norms
from tokenizers.pre_tokenizers import ByteLevel

#: Letters of the vocabularies; what is not among them is unknown, or bytes.
LETTERS = "abcdefghijklmnopqrstuvwxyzABQé0123.,'`\"<>[]/_|é\u0301中文ａｆｉﬁ"
PIECES = ("hello", "world", "un", "able", "hell", "ing", "the", "you")

TEXTS = (
    "",
    " ",
    "hello world",
    "  hello   world  ",
    "\thello\n\nworld\r\n",
    "Hello WORLD unable",
    "héllo cafe\u0301 É naïve",
    "中文 hello中文",
    "😀 hello 👩‍👩‍👧 world",
    "hello" * 40,
    "a\0b \u200b\ufeffc",
    "``quoted'' text's \"here\"",
    "ａ ﬁ Ｑ Q\u00a0q",
    "it's 12345 1.5%",
    "hello <mask> world",
    "hello<mask>world [MASK] x[MASK]y",
    "<s>hello</s> <pad><unk> world </s>",
    "[CLS] hello [SEP] world[SEP]",
    "<|endoftext|> hello <|im_start|>x",
    "<bos>hello<eos> ▁hello",
    "hello EXTRA world xEXTRAy  EXTRA  extra",
    "<extra_id_0> hello <extra_id_99>",
    "<s>NOTUSED hello",
)


def charsmap() -> norms.Normalizer:
    """As SentencePiece compiles one: a trie, here with one way that turns Q into q, and what it leads to."""
    units = [0] * 1024
    first, leaf = 256 ^ ord("Q"), 600
    units[0] = 256 << 10
    units[first] = (first ^ leaf) << 10 | 1 << 8 | ord("Q")
    trie = struct.pack(f"<{len(units)}I", *units)
    return norms.Precompiled(struct.pack("<I", len(trie)) + trie + b"q\0")


def unigram(specials: tuple[str, ...], unk: str) -> Fast:
    """As converted from SentencePiece by earlier releases of transformers."""
    words = [f"▁{piece}" for piece in PIECES]
    scored = [(token, 0.0) for token in specials]
    scored += [("▁", -3.0), *((letter, -4.0) for letter in dict.fromkeys(LETTERS))]
    scored += [(piece, -2.5) for piece in PIECES] + [(word, -2.0) for word in words]
    made = Fast(models.Unigram(scored, unk_id=specials.index(unk), byte_fallback=False))
    made.normalizer = norms.Sequence([charsmap(), norms.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    made.add_special_tokens([AddedToken(token, special=True) for token in specials])
    return made


def word_piece(specials: tuple[str, ...], unk: str) -> Fast:
    letters = list(dict.fromkeys(LETTERS))
    tokens = [*specials, *letters, *PIECES, *(f"##{piece}" for piece in (*letters, *PIECES))]
    ids = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    made = Fast(models.WordPiece(ids, unk_token=unk, max_input_chars_per_word=300))
    made.normalizer = norms.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    made.add_special_tokens(list(specials))
    return made


def byte_level(specials: tuple[str, ...], unk: str | None = None) -> Fast:
    merges = [
        ("h", "e"),
        ("l", "l"),
        ("he", "ll"),
        ("hell", "o"),
        ("Ġ", "hello"),
        ("1", "2"),
        ("Ġ", "w"),
    ]
    letters = sorted(ByteLevel.alphabet())
    tokens = [*specials, *letters, *("".join(merge) for merge in merges)]
    ids = {token: place for place, token in enumerate(tokens)}
    made = Fast(models.BPE(ids, merges, unk_token=unk, ignore_merges=True))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.add_special_tokens(list(specials))
    return made


def of_words(specials: tuple[str, ...], unk: str) -> Fast:
    """HerBERT's: pieces that know whether they end a word."""
    ends = ("lo</w>", "hello</w>", *(f"{letter}</w>" for letter in dict.fromkeys(LETTERS)))
    merges = [("h", "e"), ("l", "o</w>"), ("he", "l"), ("hel", "lo</w>")]
    tokens = [*specials, *dict.fromkeys(LETTERS), "he", "hel", *ends]
    ids = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    made = Fast(models.BPE(ids, merges, unk_token=unk, end_of_word_suffix="</w>"))
    made.normalizer = norms.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    made.add_special_tokens(list(specials))
    return made


def with_fallback(specials: tuple[str, ...], *, gemma: bool) -> Fast:
    """Llama's and Gemma's: pieces of SentencePiece, and bytes for the rest."""
    merges = [
        ("h", "e"),
        ("l", "l"),
        ("he", "ll"),
        ("hell", "o"),
        ("▁", "hello"),
        ("▁", "▁"),
        ("▁", "w"),
    ]
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokens += [*dict.fromkeys(LETTERS), *("".join(merge) for merge in merges)]
    ids = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    made = Fast(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if gemma:
        made.normalizer = norms.Replace(" ", "▁")
    else:
        made.normalizer = norms.Sequence([norms.Prepend("▁"), norms.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bos = specials[1]
    made.post_processor = processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, 1)]
    )
    made.add_special_tokens(list(specials))
    return made


_OF_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_OF_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_OF_ALBERT = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_OF_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

#: Class -> (model_type, its tokenizer.json).
MAKERS: Mapping[str, tuple[str, Callable[[], Fast]]] = {
    "AlbertTokenizer": ("albert", lambda: unigram(_OF_ALBERT, "<unk>")),
    "BertTokenizer": ("bert", lambda: word_piece(_OF_BERT, "[UNK]")),
    "BigBirdTokenizer": (
        "big_bird",
        lambda: unigram(("<pad>", "</s>", "<s>", "<unk>", "[SEP]", "[MASK]", "[CLS]"), "<unk>"),
    ),
    "CamembertTokenizer": (
        "camembert",
        lambda: unigram(("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<s>", "</s>"), "<unk>"),
    ),
    "ConvBertTokenizer": ("convbert", lambda: word_piece(_OF_BERT, "[UNK]")),
    "DebertaTokenizer": ("deberta", lambda: byte_level(_OF_BERT)),
    "DebertaV2Tokenizer": (
        "deberta-v2",
        lambda: unigram(("[PAD]", "[CLS]", "[SEP]", "[UNK]"), "[UNK]"),
    ),
    "DistilBertTokenizer": ("distilbert", lambda: word_piece(_OF_BERT, "[UNK]")),
    "GPT2Tokenizer": ("gpt2", lambda: byte_level(("<|endoftext|>",))),
    "GPTNeoXTokenizer": ("gpt_neox", lambda: byte_level(("<|endoftext|>", "<|padding|>"))),
    "GemmaTokenizer": (
        "gemma3_text",
        lambda: with_fallback(("<pad>", "<bos>", "<eos>", "<unk>", "<mask>"), gemma=True),
    ),
    "HerbertTokenizer": (
        "herbert",
        lambda: of_words(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), "<unk>"),
    ),
    "LlamaTokenizer": ("llama", lambda: with_fallback(("<unk>", "<s>", "</s>"), gemma=False)),
    "MPNetTokenizer": (
        "mpnet",
        lambda: word_piece(("<s>", "<pad>", "</s>", "[UNK]", "<mask>"), "[UNK]"),
    ),
    "Qwen2Tokenizer": ("qwen3", lambda: byte_level(_OF_QWEN)),
    "Qwen3_5Tokenizer": ("qwen3_5_text", lambda: byte_level(_OF_QWEN)),
    "RobertaTokenizer": ("roberta", lambda: byte_level(_OF_ROBERTA)),
    "T5Tokenizer": ("t5", lambda: unigram(("<pad>", "</s>", "<unk>"), "<unk>")),
    "XLMRobertaTokenizer": ("xlm-roberta", lambda: unigram(_OF_ROBERTA, "<unk>")),
    "PreTrainedTokenizerFast": (
        "mistral",
        lambda: with_fallback(("<unk>", "<s>", "</s>"), gemma=False),
    ),
}


def write(folder: Path, name: str, files: Mapping[str, Any] | None = None, **told: Any) -> Path:
    """A folder with the tokenizer of this class; told: what tokenizer_config.json has beside it."""
    model_type, make = MAKERS[name]
    make().save(str(folder / "tokenizer.json"))
    own = {
        "config.json": {"model_type": model_type, "hidden_size": 32, "num_attention_heads": 4},
        "tokenizer_config.json": {"tokenizer_class": name, **told},
        **(files or {}),
    }
    for file, content in own.items():
        (folder / file).write_text(json.dumps(content))
    return folder
