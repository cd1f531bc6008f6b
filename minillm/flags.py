"""The flags that both command-line tools share, and what they do: bring a model into memory."""

from __future__ import annotations

import hashlib
import time
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minillm.console import Failure, amount, duration, log_to_stderr, note, waiting
from minillm.json_file import checkpoint_file

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel
    from minillm.sampling import Sampling


DISTRIBUTION = "modular-prompt-cache"


class DType(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float64 = "float64"


class WeightsName(StrEnum):
    """As in `linear.py`, which imports torch."""

    plain = "plain"
    packed = "packed"
    int8 = "int8"
    int4 = "int4"


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"
    auto = "auto"


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(DISTRIBUTION, version(DISTRIBUTION))
        raise typer.Exit


def _probability(value: float) -> float:
    if not 0 < value <= 1:
        raise typer.BadParameter(f"{value} is no probability, expected more than 0 and at most 1")
    return value


def _stop_texts(texts: list[str] | None) -> list[str] | None:
    if "" in (texts or ()):
        raise typer.BadParameter("a stop text is empty, expected some text")
    return texts


Checkpoint = Annotated[Path, typer.Argument(metavar="DIR", help="A converted checkpoint.")]
DTypeFlag = Annotated[DType, typer.Option("--dtype", help="Of the weights and the KV states.")]
WeightsFlag = Annotated[
    WeightsName,
    typer.Option("--weights", help="packed: faster on a CPU; int8, int4: smaller, not the same."),
]
DeviceFlag = Annotated[Device, typer.Option("--device", help="auto: a GPU if there is one.")]
ThreadsFlag = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads; default: all.")
]
MaxTokensFlag = Annotated[
    int, typer.Option("--max-tokens", min=1, metavar="N", help="Length of the answer at most.")
]
TemperatureFlag = Annotated[
    float, typer.Option("--temperature", min=0.0, metavar="T", help="0: always the likeliest.")
]
TopKFlag = Annotated[
    int, typer.Option("--top-k", min=0, metavar="K", help="Draw among the K likeliest; 0: all.")
]
TopPFlag = Annotated[
    float,
    typer.Option(
        "--top-p",
        metavar="P",
        help="Draw among the likeliest that together hold the probability P.",
        callback=_probability,
    ),
]
SeedFlag = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**63 - 1, help="The same seed draws the same answer."
    ),
]
StopFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        help="End the answer before it; may be repeated.",
        callback=_stop_texts,
    ),
]
VerboseFlag = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log what is done to stderr.", callback=log_to_stderr),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Machine-readable, alone on stdout.")]


def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show it and exit.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """What either tool takes before a command."""


def sampling(temperature: float, top_k: int, top_p: float, seed: int | None) -> Sampling:
    """How to draw, out of the flags' values. Imports torch."""
    from minillm.sampling import Sampling

    try:
        return Sampling(temperature, top_k, top_p, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def load_model(
    folder: Path,
    dtype: str = "float32",
    device: str = "auto",
    threads: int | None = None,
    weights: WeightsName = WeightsName.packed,
) -> LoadedModel:
    """The checkpoint in `folder`, announced with its size and the time it is expected to take.

    Raises `LoadError`; `Failure` where there is no such device.
    """
    checkpoint_file(folder, "config.json")
    file = folder / "model.safetensors"
    if file.is_file():
        note(f"loading {folder.resolve().name}: {_expected(file)}")
    with waiting("loading"):
        import torch

        from minillm.checkpoint import load

        if threads is not None:
            torch.set_num_threads(threads)
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise Failure("there is no CUDA device here; take --device cpu")
        if device == "auto":
            device = "cuda" if has_gpu else "cpu"
        return load(folder, dtype=getattr(torch, dtype), device=device, weights=weights.value)


def _expected(weights: Path) -> str:
    """Size and time: that of importing torch, and of the checksum, whose first bytes are timed."""
    size, sample = weights.stat().st_size, 8 << 20
    started = time.perf_counter()
    with weights.open("rb") as file:
        part = file.read(sample)
    hashlib.sha256(part).digest()
    seconds = (time.perf_counter() - started) * size / max(1, len(part))
    return f"{amount(size)}, about {duration(2 + seconds)} (an estimate)"
