"""A SentencePiece vocabulary in GGUF's metadata, as the model file that it once was.

The pieces, their scores and kinds are all there. What is not is the way to normalise a text: in
this kind of vocabulary (Llama 1 and 2, Mistral, Code Llama) there is none but for blanks.
"""

from __future__ import annotations

from collections.abc import Mapping

from minillm.errors import LoadError
from minillm.foreign.gguf_vocabulary import numbers, setting, strings
from minillm.foreign.sentencepiece_model import Kind, Piece, write_model


def spm_definition(metadata: Mapping[str, object]) -> bytes:
    """The `tokenizer.model`; raises `LoadError` for what is inconsistent or not supported."""
    if "tokenizer.ggml.precompiled_charsmap" in metadata:
        raise LoadError("a SentencePiece vocabulary that normalises text is not supported in GGUF")
    tokens = strings(metadata, "tokens")
    scores = numbers(metadata, "scores", len(tokens)).tolist()
    kinds = numbers(metadata, "token_type", len(tokens)).tolist()
    if unknown := set(kinds) - set(Kind):
        raise LoadError(f"tokenizer.ggml.token_type has the unknown kind {min(unknown)}")
    # The pieces that text is searched for come with their blanks spelled out.
    pieces = [
        Piece(token.replace(" ", "▁"), score, Kind(kind))
        for token, score, kind in zip(tokens, scores, kinds, strict=True)
    ]
    return write_model(
        pieces,
        dummy_prefix=adds_prefix_blank(metadata),
        remove_extra_blanks=setting(metadata, "remove_extra_whitespaces", default=False),
    )


def adds_prefix_blank(metadata: Mapping[str, object]) -> bool:
    return setting(metadata, "add_space_prefix", default=True)
