"""`pml eval`: what reuse costs in quality, measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minillm.console import Bar, Failure, note, print_json
from minillm.flags import DType, DTypeFlag, JsonFlag, ThreadsFlag, VerboseFlag, load_model
from pml.cli.documents import ModelFlag
from pml.cli.output import aligned

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel
    from pml.eval.items import Item
    from pml.eval.modes import Mode
    from pml.eval.page import Found
    from pml.eval.run import Results, Settings
    from pml.eval.tasks import Task

DataFlag = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="PML_DATA", help="Where the tasks' data is."),
]
MarkdownFlag = Annotated[bool, typer.Option("--markdown", help="The table for a page.")]
SVGFlag = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="The plot.")]
MODES = "full,fast,balanced,exact"


def evaluate(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="records, nq, …, or your own FILE.jsonl.")
    ],
    model: ModelFlag,
    modes: Annotated[
        str, typer.Option("--modes", metavar="A,B,…", help="How to ask; see pml/eval/modes.py.")
    ] = MODES,
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="Questions; default: all.")
    ] = None,
    documents: Annotated[
        int | None, typer.Option("--documents", min=1, metavar="K", help="Documents a question.")
    ] = None,
    left_out: Annotated[
        int,
        typer.Option("--left-out", min=0, metavar="K", help="Documents that no prompt imports."),
    ] = 1,
    data: DataFlag = None,
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", metavar="DIR", help="Whose full prefill; see `pml adapt`."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Results; a second start goes on there.")
    ] = Path("eval-results"),
    as_json: JsonFlag = False,
    markdown: MarkdownFlag = False,
    svg: SVGFlag = None,
    dtype: DTypeFlag = DType.float32,
    threads: ThreadsFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Ask the questions of a task in several modes, and compare each with full prefill."""
    from pml.eval.modes import FULL

    asked, chosen = task_of(task), _modes(modes)
    items = _items(asked, data, documents, left_out, count)
    loaded = load_model(model, dtype, "cpu", threads)
    taught_by = None if teacher is None else load_model(teacher, dtype, "cpu", threads)
    from pml.eval.run import Settings
    from pml.eval.summary import summarise

    number = asked.documents if documents is None else documents
    identity, name = loaded.fingerprint, loaded.name
    if taught_by is not None:
        if taught_by.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
            raise Failure(f"{teacher}: has another tokenizer than {model}")
        identity += f" against {taught_by.fingerprint}"
        name += f"-of-{taught_by.name}"
    settings = Settings(asked.name, identity, dtype.value, number, left_out)
    path = out / f"{name}-{asked.name}-{number}.jsonl"
    results = _results(loaded, asked, items, chosen, settings, path, taught_by)
    names = dict.fromkeys([FULL, *(mode.name for mode in chosen)])
    rows = summarise(items, [*names], results.results)
    told = {**asdict(settings), "model_name": name}
    found = {"settings": told, "timings": ["speedup"], "rows": [row.as_json() for row in rows]}
    _show(found, as_json, markdown, svg)
    if not (as_json or markdown):
        note("intervals hold 95 % (bootstrap over sets of documents); the last column is a timing")


def _results(
    model: LoadedModel,
    task: Task,
    items: list[Item],
    modes: list[Mode],
    settings: Settings,
    path: Path,
    teacher: LoadedModel | None,
) -> Results:
    """All results, those that the file at `path` lacks asked for first."""
    from pml.eval.run import Results
    from pml.eval.run import evaluate as ask

    try:
        results = Results(path, settings)
    except ValueError as error:
        raise Failure(str(error)) from None
    note(f"{len(items)} questions, {len(modes)} modes; results in {path}")
    with _without_warnings(), Bar("asking", len(items)) as bar:
        ask(model, task, items, modes, results, lambda done, _: bar.show(done), teacher)
    return results


@contextmanager
def _without_warnings() -> Iterator[None]:
    """`joint` is asked for knowingly, at every question."""
    log = logging.getLogger("pml")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def gaps(
    model: ModelFlag,
    task: Annotated[str, typer.Option("--task", metavar="TASK", help="Whose questions.")] = (
        "records"
    ),
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="Questions.")] = 20,
    data: DataFlag = None,
    as_json: JsonFlag = False,
    markdown: MarkdownFlag = False,
    svg: SVGFlag = None,
    dtype: DTypeFlag = DType.float32,
    threads: ThreadsFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """What a gap of the layout `fixed` does to the first token, and `packed` beside it."""
    chosen = task_of(task)
    items = _items(chosen, data, None, 0, count)
    loaded = load_model(model, dtype, "cpu", threads)
    from pml.eval.gaps import measure_gaps

    with Bar("measuring") as bar:
        rows = measure_gaps(loaded, chosen.form, items, progress=bar.show)
    settings = {"task": task, "model": loaded.fingerprint, "model_name": loaded.name}
    settings |= {"positions": loaded.config.position_scheme, "dtype": dtype.value}
    found = {"settings": settings, "rows": [row.as_json() for row in rows]}
    _show(found, as_json, markdown, svg)


def _show(found: Found, as_json: bool, markdown: bool, svg: Path | None) -> None:
    from pml.eval.page import cells, picture, table, title

    if svg is not None:
        svg.write_text(picture(found), encoding="utf-8")
    if as_json:
        print_json(found)
    elif markdown:
        print(table(found), end="")
    else:
        print(title(found))
        print(aligned(cells(found), right=()))


def _items(
    task: Task, data: Path | None, documents: int | None, left_out: int, count: int | None
) -> list[Item]:
    try:
        return task.items(data, documents, left_out, count)
    except ValueError as error:
        raise Failure(str(error)) from None


def task_of(name: str) -> Task:
    from pml.eval.tasks import TASKS, own_task

    if name not in TASKS and Path(name).is_file():
        return own_task(Path(name))
    if name not in TASKS:
        raise Failure(f"task is {name!r}, expected one of {', '.join(TASKS)}, or a file of lines")
    return TASKS[name]


def _modes(names: str) -> list[Mode]:
    from pml.eval.modes import FULL, mode

    try:
        found = [mode(name) for name in dict.fromkeys([FULL, *names.split(",")])]
    except ValueError as error:
        raise Failure(str(error)) from None
    return found
