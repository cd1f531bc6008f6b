"""`minillm convert | info | verify | generate | bench`: checkpoints in, plain answers out."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from minillm.cli_checks import bench, verify
from minillm.console import Bar, Commands, Failure, amount, note, print_json
from minillm.flags import (
    Checkpoint,
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
    options,
    sampling,
)

app = typer.Typer(
    cls=Commands,
    help="A small transformer runtime: convert a checkpoint, look at it, run it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback()(options)


def main() -> None:
    app()


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A GGUF file or a Hugging Face folder.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to make.")],
    roles: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME", help="Chat markers, where the model's are not recognised."
        ),
    ] = None,
    dtype: Annotated[
        DType | None,
        typer.Option("--dtype", help="Of the stored weights; default: as they are."),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Read .bin weights too, in a process of their own."),
    ] = False,
    verbose: VerboseFlag = False,
) -> None:
    """Convert a foreign checkpoint into the format of this runtime."""
    import torch

    from minillm.convert import convert as convert_checkpoint

    with Bar(f"converting {source.name}") as bar:
        made = convert_checkpoint(
            source,
            target,
            dtype=None if dtype is None else getattr(torch, dtype),
            roles=roles,
            allow_pickle=allow_pickle,
            progress=bar.show,
        )
    for name in made.skipped:
        note(f"skipped {name}: it is in no weight")
    for name in made.plain_markers:
        note(f"the chat marker {name} is ordinary text to this model: any text can spell it")
    size = (made.folder / "model.safetensors").stat().st_size
    note(f"{made.folder}: {made.num_weights} weights, {amount(size)}")


@app.command()
def info(folder: Checkpoint, as_json: JsonFlag = False) -> None:
    """Tell a checkpoint's size, shape, context and origin."""
    facts = describe(folder)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        for index, line in enumerate(_lines(value)):
            print(f"{'' if index else name.replace('_', ' '):19} {line}")


def _lines(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}: {line}" for key, entry in value.items() for line in _lines(entry)]
    if isinstance(value, list):
        return [", ".join(value) or "none"]
    return [f"{value:,}" if isinstance(value, int) else str(value)]


def describe(folder: Path) -> dict[str, object]:
    """What `minillm info` tells; `kv_bytes_per_token` counts the true key/value heads."""
    from minillm.checkpoint import WEIGHTS_FILE
    from minillm.config_file import load_config
    from minillm.special_tokens import load_special_tokens
    from minillm.weights_file import open_weights

    stored = load_config(folder)
    config = stored.model
    with open_weights(folder / WEIGHTS_FILE) as file:
        specs = [file.spec(name) for name in sorted(file.names)]
    sizes = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
    return {
        "name": folder.resolve().name,
        "family": config.family,
        "parameters": sum(math.prod(spec.shape) for spec in specs),
        "weight_bytes": sum(spec.num_bytes for spec in specs),
        "dtypes": sorted({str(spec.dtype).removeprefix("torch.") for spec in specs}),
        "positions": config.max_positions,
        "position_scheme": config.position_scheme,
        "vocabulary": config.vocab_size,
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "kv_bytes_per_token": {name: config.kv_bytes_per_token(n) for name, n in sizes.items()},
        "roles": list(load_special_tokens(folder).roles),
        "source": dict(stored.source),
    }


@app.command()
def generate(
    folder: Checkpoint,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text, or - for stdin.")],
    raw: Annotated[bool, typer.Option("--raw", help="No chat markers around it.")] = False,
    max_tokens: MaxTokensFlag = 128,
    temperature: TemperatureFlag = 0.0,
    top_k: TopKFlag = 0,
    top_p: TopPFlag = 1.0,
    seed: SeedFlag = None,
    stop: StopFlag = None,
    dtype: DTypeFlag = DType.float32,
    weights: WeightsFlag = WeightsName.packed,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Answer a plain prompt, as the words come."""
    text = sys.stdin.read() if prompt == "-" else prompt
    model = load_model(folder, dtype, device, threads, weights)
    draw = sampling(temperature, top_k, top_p, seed)
    from minillm.generate import stream

    try:
        reason = None
        deltas = stream(
            model, text, max_tokens=max_tokens, sampling=draw, chat=not raw, stop=stop or ()
        )
        for delta in deltas:
            print(delta.text, end="", flush=True)
            reason = delta.finish_reason
    except ValueError as error:  # empty, or longer than the model's context
        raise Failure(str(error)) from None
    print()
    if reason == "length":
        note(f"ended after --max-tokens {max_tokens}")
    elif reason == "context":
        note(f"ended: the model's context of {model.config.max_positions:,} positions is full")


app.command()(verify)
app.command()(bench)
