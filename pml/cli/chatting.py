"""`pml chat`: turns by the line, answers as the words come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minillm.console import note
from minillm.flags import (
    Device,
    DeviceFlag,
    DType,
    DTypeFlag,
    MaxTokensFlag,
    SeedFlag,
    StopFlag,
    TemperatureFlag,
    ThreadsFlag,
    TopKFlag,
    TopPFlag,
    VerboseFlag,
    WeightsFlag,
    WeightsName,
    load_model,
    sampling,
)
from pml.cli.documents import (
    AttentionFlag,
    LayoutFlag,
    ModelFlag,
    QualityFlag,
    QualityName,
    SchemaArgument,
    StoreFlag,
    read_schema,
    tell,
)
from pml.errors import Location, PMLError
from pml.nodes import Prompt, PromptRole, PromptText
from pml.planner import check_options

if TYPE_CHECKING:
    from pml.chat import Chat


def chat(
    schema: SchemaArgument,
    model: ModelFlag,
    max_tokens: MaxTokensFlag = 512,
    temperature: TemperatureFlag = 0.0,
    top_k: TopKFlag = 0,
    top_p: TopPFlag = 1.0,
    seed: SeedFlag = None,
    stop: StopFlag = None,
    dtype: DTypeFlag = DType.float32,
    weights: WeightsFlag = WeightsName.packed,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    quality: QualityFlag = QualityName.fast,
    store: StoreFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Talk over a schema: a line is a user's turn, one that starts with `<` is PML."""
    parsed = read_schema(schema)
    check_options(parsed, attention, layout)
    loaded = load_model(model, dtype, device, threads, weights)
    draw = sampling(temperature, top_k, top_p, seed)
    from pml.engine import PromptCache

    cache = PromptCache(loaded, attention=attention, layout=layout, quality=quality, store=store)
    cache.add_schema(parsed)
    talk = cache.chat(parsed.name)
    has_roles = {"user", "assistant"} <= loaded.tokenizer.roles.keys()
    for line in _lines():
        turn = line if line.startswith("<") else _said(parsed.name, line, has_roles)
        try:
            for delta in talk.stream(turn, max_tokens=max_tokens, sampling=draw, stop=stop or ()):
                print(delta.text, end="", flush=True)
        except PMLError as error:
            if not sys.stdin.isatty():
                raise
            tell(error)
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            note("\nbroken off: this turn does not count")
        else:
            print(flush=True)
            note(_used(talk, loaded.config.max_positions))


def _lines() -> Iterator[str]:
    """What is typed, or piped in, line by line without blank ones."""
    is_terminal = sys.stdin.isatty()
    while True:
        if is_terminal:
            print("> ", end="", flush=True)
        if not (line := sys.stdin.readline()):
            if is_terminal:
                print()
            return
        if line := line.strip():
            yield line


def _said(schema: str, line: str, has_roles: bool) -> Prompt:
    text = PromptText(line)
    said = PromptRole("user", (text,)) if has_roles else text
    return Prompt(schema, children=(said,), at=Location("<line>", 1, 1))


def _used(talk: Chat, positions: int) -> str:
    usage = talk.usage
    return (
        f"so far: reused {usage.cached_tokens:,} tokens, computed {usage.fresh_tokens:,}, "
        f"answered {usage.completion_tokens:,}; {talk.plan.next_position:,} of {positions:,} "
        "positions"
    )
