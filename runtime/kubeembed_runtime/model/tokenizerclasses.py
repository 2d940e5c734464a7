"""Which of transformers' classes opens a folder's tokenizer, and what that class takes for granted.

A class may build the tokenizer anew of tokenizer.json's vocabulary (`tokenizerparts` does the same), take
tokenizer.json as it is stored, or not read it at all. Without `tokenizers`, which a recipe does not wait for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import TOKENIZER, Files

#: Takes tokenizer.json as it is stored: every name that transformers has no class of.
STORED = "TokenizersBackend"

_GENERIC = (STORED, "PreTrainedTokenizerFast", "PreTrainedTokenizer", "PythonBackend")

#: The same class under another name.
_ALIASES: Mapping[str, str] = {
    "BartTokenizer": "RobertaTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "LxmertTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "MvpTokenizer": "RobertaTokenizer",
    "SqueezeBertTokenizer": "BertTokenizer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """specials: the special tokens where no file names them. kinds: do pairs get token types?"""

    specials: Mapping[str, str]
    kinds: bool = False


def _named(bos: str, eos: str, unk: str, pad: str, **others: str) -> Mapping[str, str]:
    found = {"bos": bos, "eos": eos, "unk": unk, "pad": pad, **others}
    return {f"{name}_token": token for name, token in found.items() if token}


_OF_BERT = _named("", "", "[UNK]", "[PAD]", sep="[SEP]", cls="[CLS]", mask="[MASK]")
_OF_DEBERTA = {**_OF_BERT, "bos_token": "[CLS]", "eos_token": "[SEP]"}
_OF_ROBERTA = _named("<s>", "</s>", "<unk>", "<pad>", sep="</s>", cls="<s>", mask="<mask>")
_OF_GPT2 = _named("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "")
_OF_QWEN = _named("", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>")

KNOWN: Mapping[str, Known] = {
    STORED: Known(specials={}),
    "AlbertTokenizer": Known(
        specials={**_OF_DEBERTA, "unk_token": "<unk>", "pad_token": "<pad>"},
    ),
    "BertTokenizer": Known(specials=_OF_BERT, kinds=True),
    "BigBirdTokenizer": Known(
        specials={**_OF_ROBERTA, "sep_token": "[SEP]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    ),
    "CamembertTokenizer": Known(specials=_OF_ROBERTA),
    "ConvBertTokenizer": Known(specials=_OF_BERT, kinds=True),
    "DebertaTokenizer": Known(specials=_OF_DEBERTA, kinds=True),
    "DebertaV2Tokenizer": Known(specials=_OF_DEBERTA, kinds=True),
    "DistilBertTokenizer": Known(specials=_OF_BERT),
    "GPT2Tokenizer": Known(specials=_OF_GPT2),
    "GPTNeoXTokenizer": Known(specials={**_OF_GPT2, "pad_token": "<|padding|>"}),
    "GemmaTokenizer": Known(specials=_named("<bos>", "<eos>", "<unk>", "<pad>", mask="<mask>")),
    "HerbertTokenizer": Known(
        specials=_named("", "", "<unk>", "<pad>", sep="</s>", cls="<s>", mask="<mask>")
    ),
    "LlamaTokenizer": Known(specials=_named("<s>", "</s>", "<unk>", "")),
    "MPNetTokenizer": Known(specials={**_OF_ROBERTA, "unk_token": "[UNK]"}),
    "Qwen2Tokenizer": Known(specials=_OF_QWEN),
    "Qwen3_5Tokenizer": Known(specials=_OF_QWEN),
    "RobertaTokenizer": Known(specials=_OF_ROBERTA),
    "T5Tokenizer": Known(specials=_named("", "</s>", "<unk>", "<pad>")),
    "XLMRobertaTokenizer": Known(specials=_OF_ROBERTA),
}

#: Those that build a tokenizer in their own way as well, or read other files than tokenizer.json.
_OTHERS = """
    BarthezTokenizer BartphoTokenizer BertGenerationTokenizer BertJapaneseTokenizer BertTokenizerLegacy
    BertweetTokenizer BioGptTokenizer BlenderbotSmallTokenizer BlenderbotTokenizer ByT5Tokenizer
    CLIPTokenizer CTRLTokenizer CanineTokenizer ClvpTokenizer CodeGenTokenizer CodeLlamaTokenizer
    CohereTokenizer CpmAntTokenizer CpmTokenizer CpmTokenizerFast DPRContextEncoderTokenizer
    DPRContextEncoderTokenizerFast DPRQuestionEncoderTokenizer DPRQuestionEncoderTokenizerFast
    DPRReaderTokenizer DPRReaderTokenizerFast DiaTokenizer EsmTokenizer EsmcTokenizer FNetTokenizer
    FSMTTokenizer FastSpeech2ConformerTokenizer FlaubertTokenizer FunnelTokenizer
    GPTNeoXJapaneseTokenizer GPTSw3Tokenizer LasrTokenizer LayoutLMv2Tokenizer
    LayoutLMv3Tokenizer LayoutXLMTokenizer LukeTokenizer M2M100Tokenizer MBart50Tokenizer MBartTokenizer
    MLukeTokenizer MarianTokenizer MarkupLMTokenizer MgpstrTokenizer MyT5Tokenizer NllbTokenizer
    NougatTokenizer OpenAIGPTTokenizer PLBartTokenizer ParakeetTokenizer PegasusTokenizer
    PerceiverTokenizer PhobertTokenizer Pop2PianoTokenizer ProphetNetTokenizer RagTokenizer
    ReformerTokenizer RemBertTokenizer RoCBertTokenizer RoFormerTokenizer SeamlessM4TTokenizer
    Siglip2Tokenizer SiglipTokenizer Speech2TextTokenizer SpeechT5Tokenizer SplinterTokenizer
    TapasTokenizer Tipsv2Tokenizer UdopTokenizer VideoPrismTokenizer VitsTokenizer Wav2Vec2CTCTokenizer
    Wav2Vec2PhonemeCTCTokenizer WhisperTokenizer XGLMTokenizer XLMTokenizer XLNetTokenizer
"""
OTHERS = frozenset(_OTHERS.split())

#: Class -> model types, where a folder names no class; and by which transformers doubts one that it names.
_OF_TYPES: Mapping[str, str] = {
    STORED: """
        aria arctic beam bigbird_pegasus camembertv2-base chatlm ernie4_5 ernie4_5_moe flex_olmo fuyu
        glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe gpt_bigcode granite granitemoe granitemoehybrid
        granitemoeshared h2ovl_chat hyperclovax hyperclovax_vlm internlm2 internlm3 iquestcoder jamba
        kimi_k25 kimi_linear kosmos-2 llava llava_next mimo_v2_flash minicpm3 minicpmv minimax_m2
        ministral ministral3 mistral mistral3 mistral_large4 mixtral modernbert modernbert-decoder molmo
        molmo2 nemotron nvfp4 nystromformer olmo2 olmo3 olmo_hybrid opencua openvla paddleocr_vl
        pegasus_x persimmon phi3 phi3_v phimoe pixtral smolvlm stablelm step3_vl umt5 vipllava
        xlm-roberta-xl
        """,
    "AlbertTokenizer": "albert yoso",
    "BertTokenizer": """
        bert convbert distilbert electra ernie layoutlm lxmert megatron-bert mobilebert nezha
        nomic_bert qdqbert realm retribert squeezebert
        """,
    "BigBirdTokenizer": "big_bird",
    "CamembertTokenizer": "camembert",
    "DebertaTokenizer": "deberta",
    "DebertaV2Tokenizer": "deberta-v2",
    "GPT2Tokenizer": "codegen dbrx gpt2 gpt_neo gptj jais2 opt phi starcoder2",
    "GPTNeoXTokenizer": "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm",
    "GemmaTokenizer": """
        gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 t5gemma zaya
        """,
    "MPNetTokenizer": "mpnet",
    "Qwen2Tokenizer": """
        colqwen2 qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_next
        qwen3_vl
        """,
    "Qwen3_5Tokenizer": "qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen4_exp",
    "RobertaTokenizer": """
        bart data2vec-text ibert led longformer mega mra mvp roberta roberta-prelayernorm
        """,
    "T5Tokenizer": "mt5 switch_transformers t5",
    "XLMRobertaTokenizer": "gte jina_embeddings_v3 xlm-roberta xmod",
    "BertJapaneseTokenizer": "bert-japanese",
    "BertweetTokenizer": "bertweet",
    "BioGptTokenizer": "biogpt",
    "CTRLTokenizer": "ctrl",
    "CanineTokenizer": "canine",
    "CodeLlamaTokenizer": "code_llama",
    "CohereTokenizer": "cohere cohere2",
    "DPRQuestionEncoderTokenizer": "dpr",
    "EsmTokenizer": "esm",
    "FNetTokenizer": "fnet",
    "FlaubertTokenizer": "flaubert",
    "FunnelTokenizer": "funnel",
    "GPTNeoXJapaneseTokenizer": "gpt_neox_japanese",
    "LukeTokenizer": "luke",
    "OpenAIGPTTokenizer": "openai-gpt",
    "RemBertTokenizer": "rembert",
    "RoCBertTokenizer": "roc_bert",
    "RoFormerTokenizer": "roformer",
    "SplinterTokenizer": "splinter",
    "XLMTokenizer": "xlm",
    "XLNetTokenizer": "xlnet",
}
REGISTERED: Mapping[str, str] = {
    model_type: name for name, types in _OF_TYPES.items() for model_type in types.split()
}

#: Types whose authors name a wrong class so often that transformers takes its own.
_NAMED_WRONGLY = ("qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen4_exp")


def class_of(files: Files) -> str:
    """A key of KNOWN. Raises StartFailed: UnsupportedModel."""
    name = _class_of(files)
    if name in KNOWN:
        return name
    problem = f"transformers opens the tokenizer with {name}, which is not known here"
    way = f"if tokenizer.json tokenizes alike, write PreTrainedTokenizerFast in {TOKENIZER}"
    raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; {way}, tokenizer_class")


def _class_of(files: Files) -> str:
    """As transformers' AutoTokenizer chooses it without running code of the model's own."""
    model_type = files.config.get("model_type")
    registered = REGISTERED.get(str(model_type))
    told = files.tokenizer.get("tokenizer_class") or files.config.get("tokenizer_class")
    if told is None or model_type in _NAMED_WRONGLY:
        return registered or STORED
    name = _resolved(told)
    if _own_code(files.tokenizer):
        return _beside_own_code(told, name, registered)
    if registered == STORED or (name == "LlamaTokenizer" and _is_of_bytes(files)):
        return STORED
    return name


def _own_code(told: Mapping[str, Any]) -> bool:
    named = told.get("auto_map") or {}
    return bool(named.get("AutoTokenizer") if isinstance(named, Mapping) else named)


def _beside_own_code(told: str, name: str, registered: str | None) -> str:
    """The class of transformers that has the name of the model's own one, if there is any."""
    if name == STORED and told not in _GENERIC and registered is None:
        problem = f"{TOKENIZER} has {told} in tokenizer_class, code that comes with the model"
        way = "write PreTrainedTokenizerFast there, if tokenizer.json tokenizes alike"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem} and is not run; {way}")
    return name


def _resolved(told: str) -> str:
    """A key of KNOWN or one of OTHERS."""
    plain = told.removesuffix("Fast")
    if plain in _ALIASES:
        return _ALIASES[plain]
    return next((name for name in (told, plain) if name in KNOWN or name in OTHERS), STORED)


def _is_of_bytes(files: Files) -> bool:
    """Llama 3 names Llama's class and has another tokenizer, so transformers looks for this word."""
    file = files.folder / "tokenizer.json"
    return file.exists() and '"ByteLevel"' in file.read_text(encoding="utf-8")
