"""Every variant of Llama, Falcon and MPT: saved by its publisher's code, converted and run by us.

Compared are the logits of a prefill and of a decode over its cache: in float64 at positions that
jump, up to 3,000, and at positions in any order that overlap; in float32 at positions 0, 1, 2, …
with the published code untouched. `PARITY_TABLE=docs/parity.md make parity` writes the table,
`GOLDEN=tests/golden/families make parity` the golden logits of the default tests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tables
import torch
from families_cases import CASES, GOLDEN, Case
from families_golden import GOLDEN_FOLDER, SHOWN, difference, our_logits, write_tokenizer
from families_oracles import FOUNDRY, Oracle, oracle_of

from minillm import load
from minillm.convert import convert
from minillm.families.falcon import FalconConfig
from minillm.model import Transformer
from minillm.verify import LIMITS, verify

pytestmark = pytest.mark.parity

PROMPT, DECODED = 40, 6
FARTHEST = 3000
STEPS = [(0, PROMPT), *((at, at + 1) for at in range(PROMPT, PROMPT + DECODED))]
ONE_STEP = [(0, PROMPT + DECODED)]
EXACT, SINGLE = 1e-9, 1e-5

COLUMNS = ("family", "variant", "compared with")
COLUMNS += ("prefill", "decode", "any order", "prefill, float32", "decode, float32")
HEAD = tables.head(COLUMNS)


@dataclass(frozen=True)
class Row:
    """The largest differences of one case, as parts of the logits' range."""

    family: str
    variant: str
    oracle: str
    prefill: float
    decode: float
    any_order: float
    prefill_32: float
    decode_32: float

    def __str__(self) -> str:
        cells = dataclasses.astuple(self)
        return f"| {' | '.join(c if isinstance(c, str) else f'{c:.0e}' for c in cells)} |"


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    """Takes the row of each case; is shown at the end."""
    rows: list[Row] = []
    yield rows
    tables.show(HEAD, map(str, rows))


def converted(oracle: Oracle, folder: Path, max_shard_size: str = "1GB") -> Path:
    """Saved by the publisher's code, converted by ours."""
    foreign, target = folder / f"saved-{max_shard_size}", folder / f"ours-{max_shard_size}"
    oracle.save(foreign, max_shard_size)
    is_sharded = len(list(foreign.glob("*.safetensors"))) > 1
    assert is_sharded == (max_shard_size != "1GB")
    write_tokenizer(foreign)
    convert(foreign, target)
    return target


def as_published(model: Transformer) -> Transformer:
    """The same model, its ALiBi rounded to bfloat16 where the published code does that."""
    options = model.config.family_config
    if not isinstance(options, FalconConfig) or model.config.position_scheme != "alibi":
        return model
    rounded = dataclasses.replace(options, rounded_alibi=True)
    with torch.device("meta"):
        twin = Transformer(dataclasses.replace(model.config, family_config=rounded))
    twin.load_state_dict(model.state_dict(), assign=True)
    return twin.eval()


def parts(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """The differences of a prefill and of the decode after it."""
    return (
        difference(found[:PROMPT], expected[:PROMPT]),
        difference(found[PROMPT:], expected[PROMPT:]),
    )


def skip_without_foundry(case: Case) -> None:
    if case.oracle == "llm-foundry" and FOUNDRY is None:
        pytest.skip("llm-foundry is not installed: make parity does it")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}: {case.variant}")
def test_variant(case: Case, tmp_path: Path, table: list[Row]) -> None:
    skip_without_foundry(case)
    oracle, rng = oracle_of(case), case.rng
    folder = converted(oracle, tmp_path)
    for dtype in LIMITS:
        verify(load(folder, dtype=dtype), folder)
    wide = load(folder, dtype=torch.float64).transformer
    narrow = as_published(load(folder, dtype=torch.float32, weights="plain").transformer)
    tokens = [rng.randrange(wide.config.vocab_size) for _ in range(PROMPT + DECODED)]
    jumping = sorted(rng.sample(range(FARTHEST), len(tokens)))
    any_order = rng.choices(range(FARTHEST // 10), k=len(tokens))

    prefill, decode = parts(
        our_logits(wide, tokens, jumping, STEPS), oracle.logits(tokens, jumping, STEPS)
    )
    mixed = difference(
        our_logits(wide, tokens, any_order, ONE_STEP), oracle.logits(tokens, any_order, ONE_STEP)
    )
    plain = list(range(len(tokens)))
    prefill_32, decode_32 = parts(
        our_logits(narrow, tokens, plain, STEPS), oracle.published(tokens, STEPS)
    )
    names = (case.family, case.variant, case.oracle)
    table.append(Row(*names, prefill, decode, mixed, prefill_32, decode_32))
    assert max(prefill, decode, mixed) <= EXACT
    assert max(prefill_32, decode_32) <= SINGLE

    from_shards = converted(oracle, tmp_path, "8KB")
    verify(load(from_shards), from_shards)
    sharded = load(from_shards, dtype=torch.float64).transformer
    assert sharded.config == wide.config
    for name, weight in wide.state_dict().items():
        assert torch.equal(sharded.state_dict()[name], weight), name


@pytest.mark.parametrize("family", GOLDEN)
def test_golden_logits(family: str, tmp_path: Path) -> None:
    """The default tests' golden logits are still what the publishers' code gives."""
    found = {}
    for case in CASES:
        if case.family == family and case.variant in GOLDEN[family]:
            skip_without_foundry(case)
            found[case.variant] = golden(case, tmp_path / str(len(found)))
    path = GOLDEN_FOLDER / f"{family}.json"
    if os.environ.get("GOLDEN"):
        lines = (f"{json.dumps(variant)}: {json.dumps(g)}" for variant, g in found.items())
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    stored = json.loads(path.read_text())
    assert stored.keys() == found.keys()
    for variant, entry in found.items():
        logits, expected = (torch.tensor(e.pop("logits")) for e in (entry, stored[variant]))
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
        assert entry == stored[variant], variant


NOISE = {"_name_or_path", "architectures", "auto_map", "chunk_size_feed_forward", "dtype"}
NOISE |= {"id2label", "label2id", "init_config", "init_device", "initializer_range"}
NOISE |= {"is_encoder_decoder", "output_attentions", "output_hidden_states", "problem_type"}
NOISE |= {"return_dict", "transformers_version", "use_cache"}
"""Fields of a `config.json` that say nothing of the model."""


def without(names: set[str], fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {k: without(names, v) for k, v in fields.items() if k not in names}


def golden(case: Case, folder: Path) -> dict[str, Any]:
    """A prefill of ten tokens and two decode steps after gaps: their logits, in part."""
    oracle, rng = oracle_of(case), case.rng
    oracle.save(folder, "1GB")
    tokens = [rng.randrange(250) for _ in range(12)]
    positions = [*range(5, 15), 40, 900]
    logits = oracle.logits(tokens, positions, [(0, 10), (10, 11), (11, 12)])
    config = json.loads((folder / "config.json").read_text())
    layers = re.compile(r"\.0\.")
    return {
        "config": without(NOISE, config),
        "shapes": {
            layers.sub(".{}.", name): list(weight.shape)
            for name, weight in oracle.weights.items()
            if not re.search(r"\.[1-9]\.", name)
        },
        "tokens": tokens,
        "positions": positions,
        "logits": logits[9:, ::SHOWN].tolist(),
    }


def test_falcon_rounds_its_alibi_to_bfloat16(tmp_path: Path) -> None:
    """After 600 tokens that is no detail. Ours is exact, unless it is asked to round as well."""
    case = next(case for case in CASES if case.variant == "RW, 12 heads")
    oracle, rng = oracle_of(case), case.rng
    model = load(converted(oracle, tmp_path), dtype=torch.float32, weights="plain").transformer
    tokens, steps = [rng.randrange(300) for _ in range(601)], [(0, 600), (600, 601)]
    published = oracle.published(tokens, steps)
    rounded = our_logits(as_published(model), tokens, range(601), steps)
    exact = our_logits(model, tokens, range(601), steps)
    assert difference(rounded, published) <= SINGLE
    assert difference(exact, published) > 1e-3
    moved = our_logits(model, tokens, range(3000, 3601), steps)
    assert difference(moved, exact) <= SINGLE


def test_every_family_has_twenty_cases_and_each_is_in_the_docs() -> None:
    families = [case.family for case in CASES]
    assert all(families.count(family) >= 20 for family in ("llama", "falcon", "mpt"))
    written = (Path(__file__).parents[2] / "docs" / "parity.md").read_text()
    for case in CASES:
        assert f"| {case.family} | {case.variant} | {case.oracle} |" in written
