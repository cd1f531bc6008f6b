"""The documents of an editor, open or on disk, and which schema a prompt belongs to.

A prompt's schema is, by the name in `<prompt schema="…">`, the first of:

1. a `*.pml` or `*.xml` file in the prompt's folder, then in each folder above it, up to the
   workspace folder that holds it (without one, up to the folder above its own);
2. an open document, the nearest to the prompt;
3. any such file of the workspace folders, hidden folders left out.

A file that is open is taken as it stands in the editor; of several in a folder the first by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minillm.tokenizer import Tokenizer
from pml.diagnostics import Checked, diagnose_schema
from pml.errors import PMLError
from pml.lsp.documents import Document, OpenDocument
from pml.lsp.files import SchemaFiles, files_below, files_in
from pml.planner import Planner
from pml.schema import Schema


@dataclass(frozen=True)
class Model:
    """What is known of a model without its weights."""

    tokenizer: Tokenizer
    max_positions: int
    alibi_slope: float | None = None
    """in the middle head; None if the model knows positions otherwise"""


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
        self._files = SchemaFiles()

    def forget(self) -> None:
        """Something has changed on disk: read everything anew, files named by `src` too."""
        self._schemas.clear()
        self._files.forget()

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

    def schema_of(self, prompt: Document) -> ReadSchema | None:
        """The schema that a prompt asks for, found as this file's beginning says."""
        wanted = prompt.schema_name
        found = (schema for name, schema in self._schemas_near(prompt) if name == wanted)
        schema = next(found, None)
        document = self._files.document(schema) if isinstance(schema, Path) else schema
        return self.read(document) if document else None

    def schema_names(self, prompt: Document) -> list[str]:
        """The names of all schemas that a prompt could ask for."""
        return [*dict.fromkeys(name for name, _ in self._schemas_near(prompt) if name)]

    def _schemas_near(self, prompt: Document) -> Iterator[tuple[str, Document | Path]]:
        """The schemas that there are, with their names, the nearest first."""
        opened = [one.document() for one in tuple(self.open.values())]
        by_path = {document.path: document for document in opened if document.path}
        for folder in self._folders_above(prompt.path) if prompt.path else ():
            for path in files_in(folder):
                yield from _named(by_path[path]) if path in by_path else self._closed(path)
        for document in sorted(opened, key=lambda one: (_distance(one, prompt), one.uri)):
            yield from _named(document)
        for path in files_below(self.folders):
            if path not in by_path:
                yield from self._closed(path)

    def _folders_above(self, path: Path) -> list[Path]:
        above = [*path.parents]
        ends = [above.index(folder) + 1 for folder in self.folders if folder in above]
        return above[: min(ends, default=2)]

    def _closed(self, path: Path) -> Iterator[tuple[str, Path]]:
        name = self._files.name_in(path)
        if name is not None:
            yield name, path


def _named(document: Document) -> Iterator[tuple[str, Document]]:
    if document.is_schema and document.schema_name is not None:
        yield document.schema_name, document


def _distance(schema: Document, prompt: Document) -> int:
    """How many folders lie between two documents."""
    if schema.path is None or prompt.path is None:
        return 1_000
    return len(set(schema.path.parents) ^ set(prompt.path.parents))
