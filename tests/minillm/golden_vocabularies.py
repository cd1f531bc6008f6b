"""The real vocabularies of `tests/golden/tokenizers`, converted as `minillm convert` does it."""

from __future__ import annotations

import lzma
import tempfile
from functools import cache
from pathlib import Path

from minillm.foreign.chat_form import ChatForm
from minillm.foreign.gguf_tokenizer import tokenizer_of_gguf
from minillm.foreign.tokenizer import write_tokenizer
from minillm.gguf import GGUFFile
from minillm.tokenizer import Tokenizer, load_tokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "tokenizers"
FILES = {"falcon": "falcon", "mpt": "mpt", "llama2": "llama2/llama2"}


@cache
def from_gguf(name: str) -> tuple[Tokenizer, bytes]:
    """The tokenizer of `name`, and the file that it was written to."""
    foreign_file = lzma.decompress((GOLDEN / f"{FILES[name]}.gguf.xz").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "vocabulary.gguf")
        source.write_bytes(foreign_file)
        with GGUFFile.open(source) as file:
            foreign = tokenizer_of_gguf(file.metadata)
        tokenizer = write_tokenizer(foreign, ChatForm({}), Path(folder)).tokenizer
        return tokenizer, Path(folder, foreign.file_name).read_bytes()


@cache
def smollm2() -> Tokenizer:
    return load_tokenizer(GOLDEN / "smollm2")


def cases(name: str) -> list[tuple[str, list[int]]]:
    """The golden strings of llama.cpp with the ids of `name`."""
    texts = (GOLDEN / "cases.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    lines = (GOLDEN / f"{FILES[name]}.out").read_text(encoding="utf-8").split("\n")
    ids = [[int(id) for id in line.split()] for line in lines]
    return list(zip(texts, ids, strict=True))


def llama2_model() -> bytes:
    """The publisher's own SentencePiece file."""
    return lzma.decompress((GOLDEN / "llama2" / "tokenizer.model.xz").read_bytes())
