"""`minillm verify | bench`: whether a checkpoint is what was converted, and how fast it is here."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from minillm.console import FAILED, INTEGRITY, Bar, Failure, amount, duration, print_json
from minillm.errors import LoadError
from minillm.flags import (
    Checkpoint,
    Device,
    DeviceFlag,
    DType,
    DTypeFlag,
    JsonFlag,
    ThreadsFlag,
    WeightsFlag,
    WeightsName,
    load_model,
)

LENGTHS = (128, 512, 2048)


def verify(
    folder: Checkpoint,
    record: Annotated[
        bool, typer.Option("--record", help="First keep what the model gives now.")
    ] = False,
    as_json: JsonFlag = False,
    dtype: DTypeFlag = DType.float32,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
) -> None:
    """Check weights, tokenizer and logits against what conversion kept; exit code 4 if not."""
    try:
        model = load_model(folder, dtype, device, threads)
        from minillm import verify as checks

        if record:
            checks.record(folder)
        found = checks.verify(model, folder)
    except LoadError as error:
        if as_json:
            print_json({"ok": False, "error": str(error)})
        raise Failure(str(error), INTEGRITY if folder.is_dir() else FAILED) from None
    if as_json:
        print_json({"ok": True, "model": model.name, "dtype": dtype.value} | asdict(found))
        return
    decode = "" if found.decode is None else f", {found.decode:.1e} in decode"
    print(
        f"{model.name}: as converted; {found.rows} rows of logits are off by {found.prefill:.1e} "
        f"of their range in prefill{decode} ({dtype}, limit {found.limit:g})"
    )


def bench(
    folder: Checkpoint,
    lengths: Annotated[
        list[int] | None,
        typer.Option("--length", min=1, metavar="N", help="Tokens; may be given several times."),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, metavar="N", help="A figure is the median of N.")
    ] = 7,
    as_json: JsonFlag = False,
    dtype: DTypeFlag = DType.float32,
    weights: WeightsFlag = WeightsName.packed,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
) -> None:
    """Measure loading, prefill and decode; run it alone."""
    facts = measure(folder, lengths, repeats, dtype, weights, device, threads)
    if as_json:
        print_json(facts)
        return
    loading = facts["loading"]
    took, memory = duration(loading["seconds"]), amount(loading["peak_bytes"])
    title = "{model}, {dtype}, {weights} weights, {device}, threads: {threads}"
    print(f"{title.format(**facts)}, medians of {repeats}")
    print(f"loading: {took}, {memory}, {loading['peak_of_weights']:.2f} of the weights' size")
    print("tokens   prefill, tokens/s   decode, tokens/s")
    for row in facts["speeds"]:
        prefill, decode = row["tokens"] / row["prefill"], 1 / row["decode"]
        print(f"{row['tokens']:>6,} {prefill:>19,.1f} {decode:>18,.1f}")


def measure(
    folder: Path,
    lengths: list[int] | None,
    repeats: int,
    dtype: str,
    weights: WeightsName,
    device: str,
    threads: int | None,
) -> dict[str, Any]:
    """What `minillm bench` tells; seconds, and bytes."""
    import torch

    from minillm.bench import Bench, peak_memory
    from minillm.families import num_parameters

    before, started = peak_memory(), time.perf_counter()
    model = load_model(folder, dtype, device, threads, weights)
    lengths = fitting(lengths, model.config.max_positions)
    run = Bench(model.transformer, max(lengths), repeats)
    run.fill(1)  # which reads all weights
    seconds, peak = time.perf_counter() - started, peak_memory() - before
    weight_bytes = num_parameters(model.config) * model.transformer.dtype.itemsize
    with Bar("measuring", total=sum(lengths)) as bar:
        speeds = []
        for length in lengths:
            speeds.append(asdict(run.speed(length)))
            bar.advance(length)
    return {
        "model": model.name,
        "dtype": str(dtype),
        "weights": str(weights),
        "device": model.transformer.device.type,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "loading": {
            "seconds": seconds,
            "peak_bytes": peak,
            "weight_bytes": weight_bytes,
            "peak_of_weights": peak / weight_bytes,
        },
        "speeds": speeds,
    }


def fitting(lengths: list[int] | None, max_positions: int) -> list[int]:
    """The lengths asked for, or those of the usual ones after which a token fits the context."""
    if lengths is None:
        most = max(1, max_positions - 1)
        return [n for n in LENGTHS if n <= most] or [most]
    if max(lengths) >= max_positions:
        raise Failure(
            f"--length {max(lengths)} and a token after it: the model's context is {max_positions}"
        )
    return lengths
