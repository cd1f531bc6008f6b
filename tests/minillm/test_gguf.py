"""The bounded GGUF reader: exact on good files, one short refusal for each bad one."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf as oracle
import numpy as np
import pytest
from gguf_writer import F32, Q4_1, Q8_0, Tensor, gguf, text, u32, u64, value
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from minillm.errors import LoadError
from minillm.ggml import CHUNK_WEIGHTS, TENSOR_TYPES, TensorType
from minillm.gguf import GGUFFile
from minillm.gguf_values import MAX_ARRAY_ITEMS, MAX_STRING_BYTES, MAX_TEMPLATE_BYTES, StringArray

SECONDS = 2.0  # of computing: other tests may run beside


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write_file(data: bytes) -> Path:
        path = tmp_path / "file.gguf"
        path.write_bytes(data)
        return path

    return write_file


def small_file() -> bytes:
    floats = np.arange(64, dtype="<f4")
    return gguf(
        [
            ("general.architecture", value("llama")),
            ("llama.block_count", value(2)),
            ("llama.rope.freq_base", value(10000.0)),
            ("tokenizer.ggml.add_bos_token", value(False)),
            ("tokenizer.ggml.tokens", value(["<unk>", "Ġthe", "é", ""])),
            ("tokenizer.ggml.token_type", value([3, 1, 1, 1])),
            ("nested", u32(9) + u32(9) + u64(2) + 2 * (u32(4) + u64(2) + u32(7) + u32(8))),
            ("tokenizer.chat_template", value("{% for message in messages %}" * 10)),
        ],
        [
            Tensor("embed", (32, 2), F32, floats.tobytes()),
            Tensor("blk.0.q", (64, 2), Q4_1, bytes(range(80))),
            Tensor("blk.0.k", (32, 2, 1), Q8_0, bytes(range(68))),
        ],
    )


def test_reads_metadata_and_tensors(write: Callable[[bytes], Path]) -> None:
    with GGUFFile.open(write(small_file())) as file:
        metadata = file.metadata
        assert metadata["general.architecture"] == "llama"
        assert metadata["llama.block_count"] == 2
        assert metadata["llama.rope.freq_base"] == 10000.0
        assert metadata["tokenizer.ggml.add_bos_token"] is False
        tokens = metadata["tokenizer.ggml.tokens"]
        assert isinstance(tokens, StringArray)
        assert list(tokens) == ["<unk>", "Ġthe", "é", ""] == tokens[:]
        assert (tokens[-2], len(tokens)) == ("é", 4)
        with pytest.raises(IndexError):
            tokens[4]
        types = metadata["tokenizer.ggml.token_type"]
        assert isinstance(types, np.ndarray)
        assert types.tolist() == [3, 1, 1, 1]
        nested = metadata["nested"]
        assert isinstance(nested, list)
        assert [item.tolist() for item in nested] == [[7, 8], [7, 8]]
        assert file.tensors["embed"].shape == (2, 32)
        embed = file.load("embed")
        assert file.tensors["blk.0.k"].shape == (1, 2, 32)
        assert file.load("blk.0.k").shape == (1, 2, 32)
    # What was loaded outlives the file, and is nobody else's memory.
    assert embed.dtype == np.float32
    assert embed.flags.writeable
    assert np.array_equal(embed, np.arange(64).reshape(2, 32))


@pytest.mark.parametrize("kind", TENSOR_TYPES.values(), ids=lambda kind: kind.name)
def test_dequantises_as_ggml_bit_for_bit(kind: TensorType) -> None:
    # Any bytes are blocks; more of them than one chunk holds. Scales that are infinite or NaN in
    # float16 give NaN in both, whose sign and payload may differ.
    rng = np.random.default_rng(7)
    count = CHUNK_WEIGHTS // kind.block_size + 3
    blocks = np.frombuffer(rng.bytes(count * kind.block_bytes), np.uint8)
    blocks = blocks.reshape(count, kind.block_bytes)
    ours = kind.dequantize(blocks.tobytes())
    with np.errstate(all="ignore"):
        number = oracle.GGMLQuantizationType[kind.name]
        theirs = oracle.quants.dequantize(blocks, number).reshape(-1)
    finite = ~np.isnan(theirs)
    assert finite.mean() > 0.9
    assert np.array_equal(np.isnan(ours), ~finite)
    assert np.array_equal(ours.view(np.uint32)[finite], theirs.view(np.uint32)[finite])


def test_blocks_written_by_hand() -> None:
    # Q4_1: w = d·q + m, low nibbles first; independent of any other program.
    d, m = np.float16(0.5).tobytes(), np.float16(-1).tobytes()
    ours = TENSOR_TYPES[3].dequantize(d + m + bytes([0x21] * 16))
    assert ours.tolist() == [-0.5] * 16 + [0.0] * 16
    # Q6_K: all bits zero is -32 times scale times d.
    scales = bytes([1, 255] * 8)
    ours = TENSOR_TYPES[14].dequantize(bytes(192) + scales + np.float16(2).tobytes())
    assert ours.tolist() == ([-64.0] * 16 + [64.0] * 16) * 8


@settings(max_examples=30)
@given(
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50),
    strings=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=50),
    rows=st.integers(1, 5),
)
def test_agrees_with_the_gguf_package(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], strings: list[str], rows: int
) -> None:
    path = tmp_path_factory.mktemp("gguf") / "written.gguf"
    weights = np.random.default_rng(rows).standard_normal((rows, 64)).astype(np.float32)
    writer = oracle.GGUFWriter(path, "llama")
    writer.add_uint32("number", 7)
    if numbers:
        writer.add_array("numbers", numbers)
    if strings:
        writer.add_array("strings", strings)
    writer.add_tensor("plain", weights)
    q8 = oracle.quants.quantize(weights, oracle.GGMLQuantizationType.Q8_0)
    writer.add_tensor("packed", q8, raw_dtype=oracle.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GGUFFile.open(path) as file:
        assert file.metadata["number"] == 7
        assert list(file.metadata.get("strings", [])) == strings  # type: ignore[call-overload]
        assert list(file.metadata.get("numbers", [])) == numbers  # type: ignore[call-overload]
        assert np.array_equal(file.load("plain"), weights)
        expected = oracle.quants.dequantize(q8, oracle.GGMLQuantizationType.Q8_0)
        assert np.array_equal(file.load("packed"), expected)


def an_array(kind: int, count: int, data: bytes = b"") -> bytes:
    return u32(9) + u32(kind) + u64(count) + data


def nest(depth: int) -> bytes:
    return u32(9) + (u32(9) + u64(1)) * (depth - 1) + u32(4) + u64(1) + u32(5)


PLAIN = Tensor("t", (8,), F32, bytes(32))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cannot be read"),
    "another format": (b"PK\x03\x04" * 9, "not a GGUF file: it starts with b'PK\\x03\\x04'"),
    "only the magic": (b"GGUF", "the header is cut off"),
    "version 1": (gguf(version=1), "version 1, expected 2 or 3"),
    "big-endian": (gguf(version=3 << 24), "version 50331648, expected 2 or 3"),
    "2^60 tensors": (gguf(num_tensors=1 << 60), "tensors, at most"),
    "2^63 keys": (gguf(num_keys=1 << 63), "keys, at most"),
    "more keys than there are": (gguf([("a", value(1))], num_keys=2, tail=bytes(7)), "cut off"),
    "a key of 2^60 bytes": (gguf(num_keys=1, tail=u64(1 << 60) + bytes(99)), "a string of"),
    "a string of 2^60 bytes": (gguf([("k", u32(8) + u64(1 << 60))]), "a string of"),
    "a string above the limit": (
        gguf([("k", value("x" * (MAX_STRING_BYTES + 1)))]),
        f"a string of {MAX_STRING_BYTES + 1} bytes, the limit is {MAX_STRING_BYTES}",
    ),
    "a template above its limit": (
        gguf([("tokenizer.chat_template", value("x" * (MAX_TEMPLATE_BYTES + 1)))]),
        f"the limit is {MAX_TEMPLATE_BYTES}",
    ),
    "a string in an array above the limit": (
        gguf([("k", value(["x" * (MAX_STRING_BYTES + 1)]))]),
        "a string of",
    ),
    "a string beyond the end": (gguf([("k", u32(8) + u64(60_000) + b"x")]), "cut off"),
    "a string that is no UTF-8": (gguf([("k", u32(8) + text(b"\xff\xfe"))]), "is not UTF-8"),
    "a key that is no UTF-8": (gguf([("k", value(1))]).replace(b"k", b"\xff"), "is not UTF-8"),
    "2^40 numbers": (gguf([("k", an_array(4, 1 << 40, bytes(99)))]), "items of key 'k', at most"),
    "2^40 strings": (gguf([("k", an_array(8, 1 << 40, bytes(99)))]), "items of key 'k', at most"),
    "numbers beyond the end": (gguf([("k", an_array(12, 90, bytes(99)))]), "cut off"),
    "strings beyond the end": (gguf([("k", an_array(8, 90, bytes(99)))]), "cut off"),
    "an array above the limit": (
        gguf([("k", an_array(0, MAX_ARRAY_ITEMS + 1, bytes(MAX_ARRAY_ITEMS + 1)))]),
        f"{MAX_ARRAY_ITEMS + 1} items",
    ),
    "nested three deep": (gguf([("k", nest(3))]), "nests arrays deeper than 2"),
    "nested 10,000 deep": (gguf([("k", nest(10_000))]), "nests arrays deeper than 2"),
    "a million arrays in one": (
        gguf([("k", an_array(9, 100_000, (u32(4) + u64(0)) * 100_000))]),
        "nests more than 4096 arrays",
    ),
    "an unknown type": (gguf([("k", u32(13) + bytes(8))]), "key 'k' has the unknown type 13"),
    "an array of an unknown type": (gguf([("k", an_array(77, 1, b"1"))]), "unknown type 77"),
    "a key twice": (gguf([("k", value(1)), ("k", value(1))]), "key 'k' occurs twice"),
    "a tensor twice": (gguf((), [PLAIN, PLAIN]), "tensor 't' occurs twice"),
    "no dimensions": (gguf((), [Tensor("t", (), F32, b"")]), "has 0 dimensions, expected 1 to 4"),
    "five dimensions": (gguf((), [Tensor("t", (1,) * 5, F32, bytes(4))]), "has 5 dimensions"),
    "2^32 dimensions": (
        gguf(num_tensors=1, tail=text("t") + u32(2**32 - 1) + bytes(99)),
        "dimensions",
    ),
    "a dimension of 0": (gguf((), [Tensor("t", (8, 0), F32, b"")]), "shape (0, 8)"),
    "a product of 2^128": (gguf((), [Tensor("t", (1 << 62,) * 4, F32, bytes(4))]), "the end"),
    # In 64 bits this product is 4, and would pass.
    "a product that wraps": (
        gguf((), [Tensor("t", (1 << 62, 4, 1 << 62, 4), F32, bytes(16))]),
        "reaches beyond the end of the file",
    ),
    "not a number of blocks": (gguf((), [Tensor("t", (33,), Q4_1, bytes(40))]), "Q4_1 blocks, 32"),
    "a type of the future": (gguf((), [Tensor("t", (8,), 99, bytes(32))]), "type 99 (unknown)"),
    "a type we do not read": (
        gguf((), [Tensor("t", (256,), 13, bytes(176))]),
        "type 13 (Q5_K), readable are F32 F16 Q4_0 Q4_1 Q8_0 Q4_K Q6_K BF16",
    ),
    "data cut off": (gguf((), [PLAIN])[:-1], "tensor 't' reaches beyond the end of the file"),
    "data far away": (gguf((), [Tensor("t", (8,), F32, bytes(32), 1 << 63)]), "beyond the end"),
    "not aligned": (gguf((), [Tensor("t", (8,), F32, bytes(99), 4)]), "not aligned to 32 bytes"),
    "overlapping": (
        gguf((), [PLAIN, Tensor("u", (8,), F32, bytes(32), 0)]),
        "tensors 't' and 'u' overlap",
    ),
    "alignment 0": (gguf([("general.alignment", value(0))]), "expected a power of two"),
    "alignment 48": (gguf([("general.alignment", value(48))]), "expected a power of two"),
    "alignment as a text": (gguf([("general.alignment", value("32"))]), "expected a power of two"),
    "a name with a line break": (
        gguf((), [Tensor("a\nb\x1b[31m" + "x" * 999, (33,), Q4_1, bytes(40))]),
        "tensor 'a\\nb\\x1b[31mxxx",
    ),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_in_one_line(
    write: Callable[[bytes], Path], data: bytes, message: str
) -> None:
    path = write(data)
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(LoadError) as caught:
            GGUFFile.open(path)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250
    assert seconds < SECONDS
    assert peak < 2 * len(data) + (64 << 20)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe"):
        with pytest.raises(LoadError, match="no such file"):
            GGUFFile.open(path)


@pytest.mark.parametrize("kind", ["strings", "keys", "tensors"])
def test_the_largest_headers_allowed_are_quick(write: Callable[[bytes], Path], kind: str) -> None:
    if kind == "strings":
        many = 1_500_000
        data = gguf([("k", an_array(8, many, text("ab") * many))])
    elif kind == "keys":
        data = gguf([(f"key {n}", value("")) for n in range(4096)])
    else:
        data = gguf((), [Tensor(f"t{n}", (8,), F32, bytes(32)) for n in range(32_768)])
    path = write(data)
    started = time.process_time()
    GGUFFile.open(path).close()
    assert time.process_time() - started < SECONDS


@pytest.mark.fuzz
@pytest.mark.parametrize("count", [500, pytest.param(200_000, marks=pytest.mark.soak)])
def test_mutations_load_or_are_refused(write: Callable[[bytes], Path], count: int) -> None:
    valid, refused = small_file(), 0
    for seed in range(count):
        path = write(mutated(valid, seed))
        started = time.process_time()
        try:
            with GGUFFile.open(path) as file:
                for item in file.metadata.values():
                    if isinstance(item, StringArray):
                        list(item)
                for name in file.tensors:
                    file.load(name)
        except LoadError as error:
            assert "\n" not in str(error), seed
            refused += 1
        assert time.process_time() - started < SECONDS, seed
    assert refused > count / 2  # the mutations do reach what is checked
