"""The tokenizer in a GGUF file's metadata, of either kind."""

from __future__ import annotations

from collections.abc import Mapping

from minillm.errors import LoadError, shown
from minillm.foreign.gguf_bpe import bpe_definition, pre_tokenizer_of
from minillm.foreign.gguf_spm import adds_prefix_blank, spm_definition
from minillm.foreign.gguf_vocabulary import setting, strings, token_id
from minillm.foreign.tokenizer import ForeignTokenizer

ENDS = ("eos", "eot", "eom")


def tokenizer_of_gguf(metadata: Mapping[str, object]) -> ForeignTokenizer:
    """Raises `LoadError` for what is missing, inconsistent or not supported."""
    model = metadata.get("tokenizer.ggml.model")
    if model == "gpt2":
        name, definition = "tokenizer.json", bpe_definition(metadata)
        prefix_blank, adds_bos = False, pre_tokenizer_of(metadata).adds_bos
    elif model == "llama":
        name, definition = "tokenizer.model", spm_definition(metadata)
        prefix_blank, adds_bos = adds_prefix_blank(metadata), True
    else:
        known = "'gpt2' (byte-level BPE) and 'llama' (SentencePiece)"
        raise LoadError(f"tokenizer {shown(model)} is not supported in GGUF, known are {known}")
    bos, template = token_id(metadata, "bos"), metadata.get("tokenizer.chat_template")
    ends = (token_id(metadata, name) for name in ENDS)
    tokens = strings(metadata, "tokens")
    ids = {"bos_token": bos, "eos_token": token_id(metadata, "eos")}
    names = {name: tokens[id] for name, id in ids.items() if id is not None and id < len(tokens)}
    return ForeignTokenizer(
        file_name=name,
        definition=definition,
        bos=bos,
        adds_bos=setting(metadata, "add_bos_token", default=adds_bos),
        unknown=token_id(metadata, "unknown"),
        padding=token_id(metadata, "padding"),
        ends=tuple(id for id in ends if id is not None),
        prefix_blank=prefix_blank,
        template=template if isinstance(template, str) else None,
        template_names=names,
    )
