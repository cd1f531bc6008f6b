"""Schemas on disk: found by the name at their beginning, read when one is needed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pml.lsp.documents import Document
from pml.lsp.scan import root_of
from pml.lsp.text import Text
from pml.markup import SCHEMA_LIMITS

_SUFFIXES = (".pml", ".xml")
_HEAD_BYTES = 1 << 16
"""A file whose root does not begin in so many bytes is not found."""
_MOST_ENTRIES = 20_000
"""Of a workspace so many files and folders are looked at."""

State = tuple[int, int]
"""Time of change and size: a file is read again when they differ."""


class SchemaFiles:
    """What is known of files, until `forget`."""

    def __init__(self) -> None:
        self._names: dict[Path, tuple[State, str | None]] = {}
        self._documents: dict[Path, tuple[State, Document]] = {}

    def forget(self) -> None:
        self._names.clear()
        self._documents.clear()

    def name_in(self, path: Path) -> str | None:
        """The name of the schema in a file; None if it holds none, or is no file."""
        if (state := _state(path)) is None:
            return None
        known = self._names.get(path)
        if known is None or known[0] != state:
            root = root_of(_content(path, _HEAD_BYTES))
            name = root.attributes.get("name") if root and root.name == "schema" else None
            known = self._names[path] = state, name
        return known[1]

    def document(self, path: Path) -> Document | None:
        if (state := _state(path)) is None:
            return None
        known = self._documents.get(path)
        if known is None or known[0] != state:
            content = _content(path, SCHEMA_LIMITS.document_bytes + 1)
            known = self._documents[path] = state, Document(path.as_uri(), Text(content))
        return known[1]


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder that may hold schemas, by name."""
    return _documents_in(_entries(folder))


def files_below(folders: Iterable[Path]) -> Iterator[Path]:
    """Those of folders and of the folders in them, the outer ones first, hidden ones left out."""
    left, waiting = _MOST_ENTRIES, [*folders]
    while waiting and left > 0:
        entries = _entries(waiting.pop(0))
        left -= len(entries)
        yield from _documents_in(entries)
        waiting += (Path(one) for one in entries if _is_open_folder(one))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _documents_in(entries: Iterable[os.DirEntry[str]]) -> Iterator[Path]:
    return (Path(entry) for entry in entries if entry.name.endswith(_SUFFIXES))


def _is_open_folder(entry: os.DirEntry[str]) -> bool:
    hidden = entry.name.startswith((".", "__")) or entry.name == "node_modules"
    return not hidden and entry.is_dir(follow_symlinks=False)


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None for what is no regular file, or is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _content(path: Path, most_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(most_bytes).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""
