"""`pml run | explain | compare | demo`: what needs a model. Torch is imported when they start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minillm.console import Bar, Failure, amount, duration, note, print_json
from minillm.flags import (
    Device,
    DeviceFlag,
    DType,
    DTypeFlag,
    JsonFlag,
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
from pml.check import check_prompt
from pml.cli.documents import (
    AttentionFlag,
    Document,
    LayoutFlag,
    ModelFlag,
    PromptArgument,
    QualityFlag,
    QualityName,
    SchemaArgument,
    StoreFlag,
    read_prompt,
    read_schema,
)
from pml.cli.gating import tell_card
from pml.cli.output import columns, comparison_table, show, span_table
from pml.planner import check_options
from pml.recompute import NOTHING
from pml.view import prompt_ruler

if TYPE_CHECKING:
    from minillm.sampling import Sampling
    from pml.compare import Comparison
    from pml.engine import PromptCache
    from pml.plan import PromptPlan
    from pml.segment_source import Encoding


@dataclass(frozen=True)
class Running:
    """The flags that say how a model runs and how schemas are read."""

    dtype: str
    device: str
    threads: int | None
    attention: str | None
    layout: str | None
    quality: str
    store: Path | None = None
    weights: WeightsName = WeightsName.packed


@dataclass(frozen=True)
class Session:
    """A schema in a cache over a loaded model, and one prompt for it; `asked` is its plan before
    it is measured what is computed again, which takes the states."""

    cache: PromptCache
    document: Document
    asked: PromptPlan

    @classmethod
    def open(cls, schema: Path, prompt: str, model: Path, running: Running) -> Session:
        """What is wrong with the documents is told before the model is loaded."""
        document, parsed = read_prompt(prompt), read_schema(schema)
        positions, _ = check_options(parsed, running.attention, running.layout)
        check_prompt(document.prompt(), parsed, repeat=positions == "packed")
        loaded = load_model(model, running.dtype, running.device, running.threads, running.weights)
        from pml.engine import PromptCache

        cache = PromptCache(
            loaded,
            attention=running.attention,
            layout=running.layout,
            quality=running.quality,
            store=running.store,
        )
        cache.add_schema(schema)
        asked = cache.plan(document.data, document.file, recompute=NOTHING)
        return cls(cache, document, asked)

    @cached_property
    def plan(self) -> PromptPlan:
        return self.cache.plan(self.document.data, self.document.file)

    def encode(self) -> Encoding:
        """Encode what is not stored, announced, with a bar."""
        from pml.estimate import estimate

        expected = estimate(self.cache, self.asked)
        if expected.states:
            note(
                f"encoding {expected.states} states: {expected.tokens:,} tokens, "
                f"{amount(expected.kv_bytes)} of keys and values, "
                f"about {duration(expected.seconds)} (an estimate)"
            )
        with Bar("encoding", expected.tokens) as bar:
            return self.cache.encode(self.asked, lambda _, n: bar.advance(n))


def run(
    schema: SchemaArgument,
    prompt: PromptArgument,
    model: ModelFlag,
    max_tokens: MaxTokensFlag = 128,
    as_json: JsonFlag = False,
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
    """Answer a prompt as the words come; what it took goes to stderr."""
    running = Running(dtype, device, threads, attention, layout, quality, store, weights)
    session = Session.open(schema, prompt, model, running)
    tell_card(session.cache)
    draw = sampling(temperature, top_k, top_p, seed)
    encoded = session.encode()
    answer = _answer(session, encoded, max_tokens, draw, stop or (), quiet=as_json)
    session.cache.store.close()
    if as_json:
        print_json(answer)
    else:
        print()
        note(_summary(answer))


def _answer(
    session: Session,
    encoded: Encoding,
    max_tokens: int,
    draw: Sampling,
    stop: Sequence[str],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """The answer to the prompt's text, as `pml run --json` prints it; printed as it comes."""
    deltas, first = [], 0.0
    started = time.perf_counter()
    prompt, cache = session.document.data, session.cache
    for delta in cache.stream(prompt, max_tokens=max_tokens, sampling=draw, stop=stop):
        first = first or time.perf_counter()
        deltas.append(delta)
        if not quiet:
            print(delta.text, end="", flush=True)
    finished = time.perf_counter()
    tokens = [delta.token for delta in deltas if delta.token is not None]
    return {
        "text": "".join(delta.text for delta in deltas),
        "tokens": tokens,
        "finish_reason": deltas[-1].finish_reason,
        "usage": {
            "prompt_tokens": session.plan.num_cached + session.plan.num_fresh,
            "cached_tokens": session.plan.num_cached,
            "fresh_tokens": session.plan.num_fresh,
            "recomputed_tokens": session.plan.num_recomputed,
            "encoded_tokens": encoded.tokens,
            "completion_tokens": len(tokens),
        },
        "timings": {
            "ttft_s": first - started,
            "encode_s": encoded.seconds,
            "decode_s": finished - first,
        },
    }


def _summary(answer: dict[str, Any]) -> str:
    usage, timings, count = answer["usage"], answer["timings"], len(answer["tokens"])
    encoded = usage["encoded_tokens"]
    before = f"encoded {encoded:,} tokens in {duration(timings['encode_s'])}; " if encoded else ""
    rate = f", {(count - 1) / timings['decode_s']:.3g} a second" if count > 1 else ""
    return (
        f"{before}reused {usage['cached_tokens']:,} tokens, computed {usage['fresh_tokens']:,}; "
        f"first token after {duration(timings['ttft_s'])}; "
        f"{count} tokens{rate}; ended by {answer['finish_reason']}"
    )


def explain(
    schema: SchemaArgument,
    prompt: PromptArgument,
    model: ModelFlag,
    as_json: JsonFlag = False,
    dtype: DTypeFlag = DType.float32,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    quality: QualityFlag = QualityName.fast,
    store: StoreFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Show a compiled prompt: each span, its positions, what it sees, whether it is stored."""
    running = Running(dtype, device, threads, attention, layout, quality, store)
    session = Session.open(schema, prompt, model, running)
    from pml.explain import explain as explain_plan

    if quality is not QualityName.fast:
        session.encode()
    content = explain_plan(session.cache, session.plan)
    if as_json:
        print_json(content)
        return
    print(span_table(content))
    print()
    show(prompt_ruler(session.cache.schemas[session.plan.schema].layout, session.plan, columns()))


def compare(
    schema: SchemaArgument,
    prompt: PromptArgument,
    model: ModelFlag,
    max_tokens: MaxTokensFlag = 32,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, metavar="N", help="Times each is measured.")
    ] = 5,
    as_json: JsonFlag = False,
    save_logits: Annotated[
        Path | None,
        typer.Option("--save-logits", metavar="FILE", help="Logits, to a safetensors file."),
    ] = None,
    dtype: DTypeFlag = DType.float32,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    quality: QualityFlag = QualityName.fast,
    verbose: VerboseFlag = False,
) -> None:
    """Answer a prompt cached and by full prefill: times, tokens, texts, distance to the oracle."""
    if save_logits is not None and not save_logits.parent.is_dir():
        raise Failure(f"{save_logits}: there is no folder {save_logits.parent}")
    running = Running(dtype, device, threads, attention, layout, quality)
    session = Session.open(schema, prompt, model, running)
    session.encode()
    from pml.compare import compare as compare_prompts

    with Bar("comparing") as bar:
        (found,) = compare_prompts(
            session.cache,
            [session.document.data],
            repeats=repeats,
            max_tokens=max_tokens,
            progress=lambda what, done, total: bar.show(done, total, what),
        )
    if save_logits is not None:
        _save_logits(found, save_logits)
    if as_json:
        settings = {"schema": session.plan.schema, "attention": session.plan.attention}
        settings |= {"model": session.cache.model.name, "dtype": dtype.value}
        print_json(found.as_json() | settings | {"repeats": repeats})
    else:
        print(comparison_table(found, columns()))


def _save_logits(found: Comparison, path: Path) -> None:
    """`cached` and `oracle`: float32 (V,), of the prompt's last token."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {"cached": found.cached_logits, "oracle": found.oracle_logits}
    try:
        save_file({name: tensor.float().cpu().clone() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise Failure(f"{path}: {error}") from None


def demo(
    model: ModelFlag = Path("weights/smollm2-135m-instruct"),
    dtype: Annotated[
        DType | None,
        typer.Option("--dtype", help="Default: bfloat16 or float32, whichever is faster here."),
    ] = None,
    threads: ThreadsFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Three prompts over nine documents: reuse, times, answers, positions."""
    from pml.demo import run as run_demo

    run_demo(model, dtype=dtype, threads=threads)
