"""`pml demo`: three questions over nine encyclopedia articles, with reuse and without.

The articles (`examples/encyclopedia`) are encoded once. Each prompt then imports four or five of
them, more than 4,000 tokens, and computes some thirty: its arguments and its question. The
prompts take turns, so that every time all modules are copied anew.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from minillm.bench import faster_dtype
from minillm.console import amount, duration, note
from minillm.flags import load_model
from pml.compare import Comparison, Progress, compare
from pml.engine import PromptCache
from pml.view import printable, prompt_ruler, ruler

EXAMPLE = Path(__file__).parents[1] / "examples" / "encyclopedia"


COLUMNS = (
    "prompt",
    "reused + computed",
    "ttft full",
    "copied",
    "ratio",
    "kept",
    "ratio",
    "oracle",
)


def run(model_dir: Path, *, dtype: str | None, threads: int | None, repeats: int = 5) -> None:
    """Encode, compare and show; raises what `load_model` and `PromptCache` raise."""
    dtype = dtype or str(faster_dtype()).removeprefix("torch.")
    model = load_model(model_dir, dtype, "cpu", threads)
    cache = PromptCache(model)
    schema = cache.add_schema(EXAMPLE / "schema.pml")
    layout = cache.schemas[schema.name].layout
    console = Console(width=100, highlight=False)
    console.rule("The schema: nine articles, each at its place")
    _show(console, ruler(layout, 100))
    _encode(cache, schema.name)

    prompts = sorted(EXAMPLE.glob("prompt-*.pml"))
    console.rule("Three prompts, with reuse and by full prefill")
    note(f"checked against the oracle, answered both ways, timed {repeats} times in turn")
    started = time.monotonic()
    results = compare(
        cache, [path.read_text() for path in prompts], repeats=repeats, progress=_progress(started)
    )
    console.print(_table([path.stem for path in prompts], results))
    console.print(
        "ttft: from the prompt's text to the first token, medians; full prefill keeps a warm "
        "buffer too.\ncopied: the modules are copied into the buffer each time; kept: they lie "
        "there from the time before.\noracle: largest difference to the logits of one plain "
        "forward under the prompt's mask."
    )
    for path, result in zip(prompts, results, strict=True):
        console.rule(path.name)
        _show(console, prompt_ruler(layout, result.plan, 100))
        for name, text in (("full prefill", result.full.text), ("with reuse", result.cached.text)):
            console.print(f"[bold]{name:>12}[/]  ", end="")
            console.print(textwrap.indent(textwrap.fill(text, 84), " " * 14).strip(), markup=False)
    worst = min(result.speedup for result in results)
    console.rule(f"The first token came at least {worst:.0f} times sooner")


def _encode(cache: PromptCache, name: str) -> None:
    """Encode the whole schema, a line for each chunk."""
    config, dtype = cache.model.config, cache.model.transformer.dtype
    nodes = cache.schemas[name].usable
    total = sum(len(node.tokens) for node in nodes)
    size = amount(total * config.kv_bytes_per_token(dtype.itemsize))
    note(f"encoding {len(nodes)} states once: {total:,} tokens, {size} of keys and values")
    started, done = time.monotonic(), 0

    def tell(path: str, tokens: int) -> None:
        nonlocal done
        done += tokens
        left = (time.monotonic() - started) * (total - done) / done
        note(f"  {done:>6,} of {total:,}  {path:<16} about {duration(left)} left")

    cache.encode_schema(name, tell)
    note(f"encoded in {duration(time.monotonic() - started)}")


def _progress(started: float) -> Progress:
    """Tell each round once, with the time that is left; the first steps are the longest."""
    told = ""

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told
        if what != told:
            left = duration((time.monotonic() - started) * (total - done) / done) if done else "?"
            note(f"  {what}, about {left} left")
        told = what

    return tell


def _show(console: Console, drawing: str) -> None:
    console.print(printable(drawing, console.encoding), markup=False, soft_wrap=True)


def _table(names: Sequence[str], results: Sequence[Comparison]) -> Table:
    table = Table(*COLUMNS, header_style="bold")
    for name, result in zip(names, results, strict=True):
        full, cached, oracle = result.full, result.cached, result.oracle
        table.add_row(
            name,
            f"{cached.cached_tokens:,} + {cached.fresh_tokens}",
            f"{full.ttft * 1e3:,.0f} ms",
            f"{cached.ttft * 1e3:.0f} ms",
            f"{result.speedup:.0f} x",
            f"{cached.kept_ttft * 1e3:.0f} ms",
            f"{full.ttft / cached.kept_ttft:.0f} x",
            f"{oracle.max_abs_diff:.2g} of {oracle.logit_range:.0f}",
        )
    return table
