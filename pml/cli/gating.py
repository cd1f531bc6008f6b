"""`pml gate`: a new checkpoint tried before it is used; and its card, shown later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from minillm.console import Bar, Failure, note, print_json
from minillm.errors import LoadError
from minillm.flags import (
    Checkpoint,
    Device,
    DeviceFlag,
    DType,
    DTypeFlag,
    JsonFlag,
    ThreadsFlag,
    VerboseFlag,
    load_model,
)
from pml.cli.evaluating import task_of
from pml.cli.output import aligned

if TYPE_CHECKING:
    from pml.engine import PromptCache


def gate(
    folder: Checkpoint,
    task: Annotated[str, typer.Option("--task", metavar="TASK", help="records or tiny-facts.")] = (
        "records"
    ),
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="Questions.")] = 20,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="No question is begun after that long.")
    ] = 8,
    as_json: JsonFlag = False,
    dtype: DTypeFlag = DType.float32,
    device: DeviceFlag = Device.auto,
    threads: ThreadsFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Try reuse with a checkpoint: laws, questions; writes its card.json. Fails if a law does."""
    chosen = task_of(task)
    if chosen.needs_data:
        raise Failure(f"task {task!r} is not built in, expected records or tiny-facts")
    loaded = load_model(folder, dtype, device, threads)
    from pml.card import save_card
    from pml.eval.summary import HEAD, cells
    from pml.gate import gate as run

    with Bar("asking", count) as bar:
        card, rows = run(loaded, chosen, count, 60 * minutes, bar.show)
    path = save_card(card, folder)
    if as_json:
        print_json(card.as_json())
    else:
        for law in card.laws:
            sign = "holds" if law.holds else "FAILS"
            print(f"{sign}  {law.law}: {law.difference:.1e} of the range, limit {law.limit:.0e}")
        print()
        print(aligned([HEAD, *map(cells, rows)], right=()))
        note(f"{path}: {card.line()}")
    if broken := [law.law for law in card.laws if not law.holds]:
        raise Failure(f"{folder}: not so: {'; '.join(broken)}")


def tell_card(cache: PromptCache) -> None:
    """A line on stderr about the model's card, where there is one."""
    try:
        card = cache.card
    except LoadError as error:
        note(str(error))
        return
    if card is not None:
        note(card.line())
