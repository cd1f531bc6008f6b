"""`golden.json`: some logits of a converted checkpoint, by which it can be verified.

{"format": 1, "model": fingerprint, "tokenizer": fingerprint,
 "tokens": [17, 7936, …], "positions": [[0, 1, …], [1000, 1001, …], …],
 "rows": [[{"31": 4.25, …}, …], …]}

The same tokens stand at several lists of positions. A row is the logits that follow one of the last
tokens there: some of them, by token id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from minillm.config import ModelConfig
from minillm.errors import IntegrityError, LoadError, shown
from minillm.json_file import fields, read_json

GOLDEN_FILE = "golden.json"
MAX_TOKENS, MAX_TEXTS = 64, 16

Row = Mapping[int, float]


@dataclass(frozen=True)
class Golden:
    """What a model gave: `rows[i]` follow the last `len(rows[i])` of `tokens` at `positions[i]`.

    `model` and `tokenizer` are fingerprints.
    """

    model: str
    tokenizer: str
    tokens: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[Row, ...], ...]


def save_golden(golden: Golden, folder: Path) -> None:
    """Write `golden.json`."""
    content = json.dumps({"format": 1} | asdict(golden))
    (folder / GOLDEN_FILE).write_text(content + "\n", encoding="utf-8")


def load_golden(folder: Path, config: ModelConfig) -> Golden:
    """Read `golden.json`; raises `LoadError` where it is missing, `IntegrityError` where it cannot
    be of a model like this."""
    path = folder / GOLDEN_FILE
    if not path.is_file():
        raise LoadError(
            f"{folder}: has no {GOLDEN_FILE}, which conversion writes: convert again, or keep "
            f"what it gives now with minillm verify {folder} --record"
        )
    try:
        return _read(read_json(path), config)
    except (LoadError, ValueError) as error:
        message = str(error).removeprefix(f"{path}: ")
        raise IntegrityError(f"{path}: {message}") from error


def _read(content: object, config: ModelConfig) -> Golden:
    names = {"format", "model", "tokenizer", "tokens", "positions", "rows"}
    top = fields(content, names, "the file")
    if top["format"] != 1:
        raise ValueError(f"format is {shown(top['format'])}, expected 1")
    tokens = _numbers(top["tokens"], "tokens", config.vocab_size)
    texts = _list(top["positions"], "positions", MAX_TEXTS)
    positions = tuple(_numbers(text, "positions", config.max_positions) for text in texts)
    rows = tuple(
        tuple(_row(row, config.vocab_size) for row in _list(text, "rows", len(tokens)))
        for text in _list(top["rows"], "rows", MAX_TEXTS)
    )
    lengths = {len(text) for text in positions} | {len(tokens)}
    if len(rows) != len(positions) or len(lengths) > 1 or len({len(text) for text in rows}) > 1:
        raise ValueError("tokens, positions and rows do not fit each other")
    return Golden(str(top["model"]), str(top["tokenizer"]), tokens, positions, rows)


def _list(content: object, name: str, most: int) -> list[object]:
    if not isinstance(content, list) or not 0 < len(content) <= most:
        raise ValueError(f"{name} is {shown(content)}, expected a list of 1 to {most}")
    return content


def _numbers(content: object, name: str, end: int) -> tuple[int, ...]:
    found = []
    for item in _list(content, name, MAX_TOKENS):
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < end:
            raise ValueError(f"{name} holds {shown(item)}, expected whole numbers below {end}")
        found.append(item)
    return tuple(found)


def _row(content: object, vocab_size: int) -> Row:
    if not isinstance(content, dict) or len(content) < 2:
        raise ValueError(f"a row is {shown(content)}, expected logits by token")
    row = {}
    for token, logit in content.items():
        if not (token.isdecimal() and int(token) < vocab_size):
            raise ValueError(f"a row has the token {shown(token)}, the model has {vocab_size}")
        if not isinstance(logit, float) or not math.isfinite(logit):
            raise ValueError(f"a logit is {shown(logit)}, expected a number")
        row[int(token)] = logit
    return row
