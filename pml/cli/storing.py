"""`pml store`: what a store's folder holds, looked at, checked, cleaned up, carried elsewhere."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minillm.console import Bar, Failure, amount, duration, note, print_json
from minillm.flags import JsonFlag
from pml.cli.output import aligned

if TYPE_CHECKING:
    from pml.store.folder import StateFolder
    from pml.store.index import Row

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The store's folder.")]
Key = Annotated[
    str, typer.Argument(metavar="KEY", help="A state's key, or how it begins; `ls` shows it.")
]
Archive = Annotated[Path, typer.Argument(metavar="FILE", help="Exported states.")]
Label = Annotated[
    str, typer.Option("--path", metavar="PATH", help="Only modules from this path on: /rome.")
]

store = typer.Typer(help="Look at a store of states, check it, clean it up.", no_args_is_help=True)


@store.command()
def ls(
    folder: Folder,
    path: Label = "",
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="A page.")] = 50,
    after: Annotated[str, typer.Option("--after", metavar="KEY", help="The page behind it.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """List states by key: size, hits, last use, what they are of."""
    with _opened(folder) as disk:
        last = next((row.digest, row.origin) for row in _found(disk, after)) if after else None
        rows = _page(disk, path, last, limit)
        states, size, _ = disk.index.sums
        more = len(rows) > limit
        if as_json:
            shown = [_told(row) for row in rows[:limit]]
            print_json({"states": states, "bytes": size, "shown": shown, "more": more})
            return
        head = ("key", "origin", "size", "hits", "used", "pinned", "path")
        print(aligned([head, *(_line(row) for row in rows[:limit])], right=(1, 2, 3, 4)))
        note(f"{states:,} states, {amount(size)}")
        if more:
            note(f"more behind them: --after {rows[limit - 1].key.name}")


@store.command()
def show(folder: Folder, key: Key, as_json: JsonFlag = False) -> None:
    """All that is known of a state."""
    with _opened(folder) as disk:
        told = [_told(row) for row in _found(disk, key)]
    if as_json:
        print_json({"shown": told})
        return
    for one in told:
        print(aligned([(name, _readable(name, value)) for name, value in one.items()], right=()))


@store.command()
def pin(folder: Folder, key: Key) -> None:
    """Never evict a state."""
    _pin(folder, key, is_pinned=True)


@store.command()
def unpin(folder: Folder, key: Key) -> None:
    """Let a state be evicted again."""
    _pin(folder, key, is_pinned=False)


@store.command()
def verify(folder: Folder, as_json: JsonFlag = False) -> None:
    """Compare every file with its sha256; what is damaged goes into quarantine (exit code 4)."""
    from pml.store.upkeep import verify as verify_files

    with _opened(folder) as disk, Bar("verifying") as bar:
        found = verify_files(disk, lambda done, total: bar.show(done, total, "verifying"))
    if as_json:
        print_json(asdict(found))
    else:
        print(f"{found.checked:,} states checked, {found.damaged:,} damaged, {found.found:,} found")
    if found.damaged:
        raise typer.Exit(4)


@store.command()
def gc(
    folder: Folder,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", min=0, metavar="N", help="Keep at most so much.")
    ] = None,
    max_days: Annotated[
        float | None, typer.Option("--max-days", min=0, metavar="D", help="Unused for longer go.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Remove what has expired, what is too much or too old, and what killed processes left."""
    from pml.store.upkeep import collect

    with _opened(folder) as disk:
        age = None if max_days is None else max_days * 86_400
        gone = collect(disk, max_bytes=max_bytes, max_age=age)
    if as_json:
        print_json(asdict(gone))
    else:
        print(f"removed {gone.states:,} states, {amount(gone.num_bytes)}")


@store.command()
def export(folder: Folder, file: Archive, path: Label = "", as_json: JsonFlag = False) -> None:
    """Write states into one file."""
    from pml.store.upkeep import export as write

    with _opened(folder) as disk:
        rows = [row for row in disk.rows() if _is_below(row, path)]
        if not rows:
            raise Failure(f"{folder}: no state{f' of {path}' if path else ''}; see `pml store ls`")
        count = write(disk, rows, file)
    if as_json:
        print_json({"states": count})
    else:
        print(f"{count:,} states, {amount(file.stat().st_size)}")


@store.command("import")
def import_(folder: Folder, file: Archive, as_json: JsonFlag = False) -> None:
    """Take the states of an exported file; what is here already stays."""
    from pml.store.upkeep import import_ as take

    with _opened(folder, is_new=True) as disk:
        new, known = take(disk, file)
    if as_json:
        print_json({"new": new, "known": known})
    else:
        print(f"{new:,} states are new, {known:,} were here")


@contextmanager
def _opened(folder: Path, *, is_new: bool = False) -> Iterator[StateFolder]:
    from pml.store.folder import StateFolder

    if not is_new and not (folder / "format").is_file():
        raise Failure(f"{folder}: no store; `pml run --store {folder}` makes one")
    try:
        with closing(StateFolder(folder)) as disk:
            yield disk
    except sqlite3.Error as error:
        raise Failure(f"{folder}: its index: {error}") from None


def _pin(folder: Path, key: str, *, is_pinned: bool) -> None:
    with _opened(folder) as disk:
        for row in _found(disk, key):
            disk.pin(row.key, is_pinned)
            print(f"{'pinned' if is_pinned else 'unpinned'} {row.label} {row.key.name}")


def _found(disk: StateFolder, key: str) -> list[Row]:
    """The states of one digest, at one origin if the key names one; `Failure` for no or several."""
    digest, _, origin = key.partition("-")
    rows = [row for row in disk.rows(digest) if origin in ("", str(row.origin))]
    if len({row.digest for row in rows}) != 1 or not digest:
        what = "no state has this key" if not rows else f"{len(rows)} states have such keys"
        raise Failure(f"{key!r}: {what}; `pml store ls` shows them")
    return rows


def _page(disk: StateFolder, path: str, last: tuple[str, int] | None, limit: int) -> list[Row]:
    """One more than the page holds, if there are more."""
    found: list[Row] = []
    while len(found) <= limit:
        rows = disk.rows(after=last, limit=limit + 1)
        found += [row for row in rows if _is_below(row, path)]
        if len(rows) <= limit:
            break
        last = (rows[-1].digest, rows[-1].origin)
    return found[: limit + 1]


def _is_below(row: Row, path: str) -> bool:
    return not path or row.label == path or row.label.startswith(path.rstrip("/") + "/")


def _line(row: Row) -> tuple[str, ...]:
    used = f"{duration(max(0.0, time.time() - row.used))} ago"
    pinned = "pinned" if row.pinned else ""
    size = amount(row.num_bytes)
    return (row.digest[:12], str(row.origin), size, str(row.uses - 1), used, pinned, row.label)


def _readable(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("created", "used", "expires"):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if name == "num_bytes":
        return amount(value)
    return duration(value) if name == "seconds" else str(value)


def _told(row: Row) -> dict[str, Any]:
    told = asdict(row)
    told |= {"key": row.key.name, "hits": row.uses - 1, "pinned": bool(row.pinned), "tier": "disk"}
    for name in ("digest", "checksum", "stamp", "worth", "uses"):
        del told[name]
    return told
