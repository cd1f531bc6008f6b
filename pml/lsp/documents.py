"""Documents: as they stand at one moment, and as they are being edited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pml.lsp.scan import Tag, root_of
from pml.lsp.text import Buffer, Position, Text


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


def path_of(uri: str) -> Path | None:
    """The file of a `file:` URI, None for what is no file (`untitled:`, `git:`)."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    return (
        Path(path) if parts.scheme == "file" and path.startswith("/") and "\0" not in path else None
    )
