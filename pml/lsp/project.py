"""The documents of an editor, open or on disk, and which schema a prompt belongs to.

A prompt's schema is, by the name in `<prompt schema="…">`, the first of:

1. a `*.pml` or `*.xml` file in the prompt's folder, then in each folder above it, up to the
   workspace folder that holds it (without one, up to the folder above its own);
2. an open document, the nearest to the prompt;
3. any such file of the workspace folders, hidden folders left out.

A file that is open is taken as it stands in the editor; of several in a folder the first by name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minillm.tokenizer import Tokenizer
from pml.diagnostics import Checked, diagnose_schema
from pml.errors import PMLError
from pml.lsp.scan import Tag, root_of
from pml.lsp.text import Buffer, Position, Text
from pml.markup import SCHEMA_LIMITS
from pml.planner import NotBuiltYet, Planner
from pml.schema import Schema

_SUFFIXES = (".pml", ".xml")
_HEAD_BYTES = 1 << 16
"""A file whose root does not begin in so many bytes is not found."""
_MOST_ENTRIES = 20_000
"""Of a workspace so many files and folders are looked at."""


@dataclass(frozen=True)
class Model:
    """What is known of a model without its weights."""

    tokenizer: Tokenizer
    max_positions: int


@dataclass(frozen=True)
class Document:
    """`version` is that of the editor; None for what was read from disk."""

    uri: str
    text: Text
    version: int | None = None

    @cached_property
    def path(self) -> Path | None:
        return path_of(self.uri)

    @cached_property
    def root(self) -> Tag | None:
        return root_of(self.text.content)

    @property
    def is_prompt(self) -> bool:
        return self.root is not None and self.root.name == "prompt"

    @property
    def is_schema(self) -> bool:
        return self.root is not None and self.root.name == "schema"

    @property
    def schema_name(self) -> str | None:
        """The name that a schema has or a prompt asks for."""
        if self.root is None:
            return None
        return self.root.attributes.get("schema" if self.is_prompt else "name")


class OpenDocument:
    """A document as it is being edited."""

    def __init__(self, uri: str, content: str, version: int) -> None:
        self.uri, self.version = uri, version
        self.buffer = Buffer(content)
        self._document: Document | None = None

    def change(self, edits: Iterable[tuple[Position, Position, str] | str], version: int) -> None:
        """Apply edits, or texts that replace the whole, one after another."""
        for edit in edits:
            if isinstance(edit, str):
                self.buffer = Buffer(edit)
            else:
                self.buffer.replace(*edit)
        self.version, self._document = version, None

    def document(self) -> Document:
        """The document as it stands now."""
        if self._document is None:
            self._document = Document(self.uri, self.buffer.text(), self.version)
        return self._document


@dataclass(frozen=True)
class ReadSchema:
    """A schema's document and what came of it.

    `good` is the tree of its last version without errors, `tree` that or as much as could be read.
    `planner` is there when the document is right and a model is known, `trouble` if it could not
    be laid out.
    """

    document: Document
    checked: Checked[Schema]
    good: Schema | None
    planner: Planner | None = None
    trouble: PMLError | None = None

    @property
    def tree(self) -> Schema | None:
        return self.good or self.checked.tree


class Project:
    """Not for several threads at once, but `open` may be changed by another."""

    def __init__(self, model: Model | None = None) -> None:
        self.model = model
        self.open: dict[str, OpenDocument] = {}
        self.folders: tuple[Path, ...] = ()
        self._schemas: dict[str, ReadSchema] = {}
        self._good: dict[str, Schema] = {}
        self._names: dict[Path, tuple[tuple[int, int], str | None]] = {}
        self._files: dict[Path, tuple[tuple[int, int], Document]] = {}

    def forget(self) -> None:
        """Something has changed on disk: read everything anew, files named by `src` too."""
        self._schemas.clear()
        self._names.clear()
        self._files.clear()

    def read(self, document: Document) -> ReadSchema:
        """The schema of a document; read once for each of its versions."""
        known = self._schemas.get(document.uri)
        if known is not None and known.document.text is document.text:
            return known
        folder = document.path.parent if document.path else None
        checked = diagnose_schema(document.text.content, document.uri, src_root=folder)
        planner, trouble = None, None
        if checked.tree is not None and not checked.has_errors:
            self._good[document.uri] = checked.tree
            planner, trouble = self._laid_out(checked.tree)
        good = self._good.get(document.uri)
        read = ReadSchema(document, checked, good, planner, trouble)
        self._schemas[document.uri] = read
        return read

    def _laid_out(self, schema: Schema) -> tuple[Planner | None, PMLError | None]:
        if self.model is None:
            return None, None
        try:
            return Planner.of(schema, self.model.tokenizer, self.model.max_positions), None
        except PMLError as error:
            return None, error
        except NotBuiltYet as error:
            return None, PMLError(str(error), schema.at)

    def schema_of(self, prompt: Document) -> ReadSchema | None:
        """The schema that a prompt asks for, found as this file's beginning says."""
        wanted = prompt.schema_name
        found = (schema for name, schema in self._schemas_near(prompt) if name == wanted)
        schema = next(found, None)
        document = self._file(schema) if isinstance(schema, Path) else schema
        return self.read(document) if document else None

    def schema_names(self, prompt: Document) -> list[str]:
        """The names of all schemas that a prompt could ask for."""
        return [*dict.fromkeys(name for name, _ in self._schemas_near(prompt) if name)]

    def _schemas_near(self, prompt: Document) -> Iterator[tuple[str, Document | Path]]:
        """The schemas that there are, with their names, the nearest first."""
        opened = [one.document() for one in tuple(self.open.values())]
        by_path = {document.path: document for document in opened if document.path}
        for folder in self._folders_above(prompt.path) if prompt.path else ():
            for path in _documents_in(_entries(folder)):
                if path in by_path:
                    yield from _named(by_path[path])
                else:
                    yield from self._closed(path)
        for document in sorted(opened, key=lambda one: (_distance(one, prompt), one.uri)):
            yield from _named(document)
        for path in self._workspace_files():
            if path not in by_path:
                yield from self._closed(path)

    def _workspace_files(self) -> Iterator[Path]:
        left, waiting = _MOST_ENTRIES, [*self.folders]
        while waiting and left > 0:
            entries = _entries(waiting.pop(0))
            left -= len(entries)
            yield from _documents_in(entries)
            waiting += (Path(one) for one in entries if _is_open_folder(one))

    def _folders_above(self, path: Path) -> list[Path]:
        above = [*path.parents]
        ends = [above.index(folder) + 1 for folder in self.folders if folder in above]
        return above[: min(ends, default=2)]

    def _closed(self, path: Path) -> Iterator[tuple[str, Path]]:
        """The schema in a file, with its name, if it holds one."""
        if (state := _state(path)) is None:
            return
        known = self._names.get(path)
        if known is None or known[0] != state:
            root = root_of(_content(path, _HEAD_BYTES))
            name = root.attributes.get("name") if root and root.name == "schema" else None
            known = self._names[path] = state, name
        if known[1] is not None:
            yield known[1], path

    def _file(self, path: Path) -> Document | None:
        if (state := _state(path)) is None:
            return None
        known = self._files.get(path)
        if known is None or known[0] != state:
            content = _content(path, SCHEMA_LIMITS.document_bytes + 1)
            known = self._files[path] = state, Document(path.as_uri(), Text(content))
        return known[1]


def path_of(uri: str) -> Path | None:
    """The file of a `file:` URI, None for what is no file (`untitled:`, `git:`)."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    return (
        Path(path) if parts.scheme == "file" and path.startswith("/") and "\0" not in path else None
    )


def _named(document: Document) -> Iterator[tuple[str, Document]]:
    if document.is_schema and document.schema_name is not None:
        yield document.schema_name, document


def _distance(schema: Document, prompt: Document) -> int:
    """How many folders lie between two documents."""
    if schema.path is None or prompt.path is None:
        return 1_000
    return len(set(schema.path.parents) ^ set(prompt.path.parents))


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
