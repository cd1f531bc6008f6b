"""An editor without a screen: a client of `pml lsp` over its stdin and stdout.

Whatever it waits for comes within a minute or is an error.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsprotocol import types
from lsprotocol.converters import get_converter
from pygls.lsp.client import LanguageClient

TIMEOUT = 60
_COMMAND = (sys.executable, "-c", "from pml.cli import main; main()", "lsp")
_as_data = get_converter().unstructure


class Editor:
    """`log` holds all that was said, as data, the folder written as `folder:`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = LanguageClient("test", "1")
        self.log: list[dict[str, Any]] = []
        self.published: defaultdict[str, asyncio.Queue[types.PublishDiagnosticsParams]]
        self.published = defaultdict(asyncio.Queue)
        self.messages: list[str] = []
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def _(params: types.PublishDiagnosticsParams) -> None:
            self.published[params.uri].put_nowait(params)

        @self.client.feature(types.WINDOW_SHOW_MESSAGE)
        def _(params: types.ShowMessageParams) -> None:
            self.messages.append(params.message)

    def uri(self, name: str) -> str:
        """The URI of a file in the folder; what is a URI already stays one."""
        return name if ":" in name else (self.folder / name).as_uri()

    def note(self, text: str) -> None:
        self.log.append({"note": text})

    async def request(self, method: str, params: Any) -> Any:
        sending = self.client.protocol.send_request_async(method, params)
        result = await asyncio.wait_for(sending, TIMEOUT)
        self.log.append({"request": method, "params": self._shown(params)})
        self.log.append({"result": self._shown(result)})
        return result

    def notify(self, method: str, params: Any) -> None:
        self.log.append({"notification": method, "params": self._shown(params)})
        self.client.protocol.notify(method, params)

    def _shown(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._shown(one) for one in value]
        data = _as_data(value)
        data = _replaced(data, self.folder.as_uri(), "folder:")
        return _replaced(data, version("modular-prompt-cache"), "VERSION")

    def open(self, name: str, text: str) -> None:
        uri = self.uri(name)
        self.texts[uri], self.versions[uri] = text, 1
        item = types.TextDocumentItem(uri, "pml", 1, text)
        self.notify(types.TEXT_DOCUMENT_DID_OPEN, types.DidOpenTextDocumentParams(item))

    def edit(self, name: str, old: str, new: str) -> None:
        """Put `new` in the place of the first `old`."""
        uri = self.uri(name)
        start = self.texts[uri].index(old)
        where = types.Range(self.position(uri, start), self.position(uri, start + len(old)))
        self.texts[uri] = self.texts[uri].replace(old, new, 1)
        self.change(uri, types.TextDocumentContentChangePartial(where, new))

    def change(self, uri: str, *changes: types.TextDocumentContentChangeEvent) -> None:
        self.versions[uri] += 1
        identifier = types.VersionedTextDocumentIdentifier(self.versions[uri], uri)
        params = types.DidChangeTextDocumentParams(identifier, changes)
        self.notify(types.TEXT_DOCUMENT_DID_CHANGE, params)

    async def diagnostics(self, name: str) -> list[types.Diagnostic]:
        """What the server says next of the document as it stands now."""
        uri = self.uri(name)
        while True:
            published = await asyncio.wait_for(self.published[uri].get(), TIMEOUT)
            if published.version == self.versions[uri]:
                method = types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS
                self.log.append({"from server": method, "params": self._shown(published)})
                return [*published.diagnostics]

    def position(self, name: str, offset: int) -> types.Position:
        """Line and UTF-16 units, counted anew here."""
        before = self.texts[self.uri(name)][:offset].replace("\r\n", "\n").replace("\r", "\n")
        line = before.rpartition("\n")[2]
        return types.Position(before.count("\n"), len(line.encode("utf-16-le")) // 2)

    def at(self, name: str, word: str, skip: int = 0) -> dict[str, Any]:
        """The arguments of a request about the place `skip` characters after `word` begins."""
        uri = self.uri(name)
        position = self.position(uri, self.texts[uri].index(word) + skip)
        return {"text_document": types.TextDocumentIdentifier(uri), "position": position}

    async def hover(self, name: str, word: str, skip: int = 1) -> str | None:
        params = types.HoverParams(**self.at(name, word, skip))
        found = await self.request(types.TEXT_DOCUMENT_HOVER, params)
        return found.contents.value if found else None

    async def complete(self, name: str, word: str, skip: int) -> dict[str, types.CompletionItem]:
        params = types.CompletionParams(**self.at(name, word, skip))
        found = await self.request(types.TEXT_DOCUMENT_COMPLETION, params)
        return {item.label: item for item in found.items}

    async def definition(self, name: str, word: str, skip: int = 1) -> types.Location | None:
        params = types.DefinitionParams(**self.at(name, word, skip))
        found: types.Location | None = await self.request(types.TEXT_DOCUMENT_DEFINITION, params)
        return found

    async def symbols(self, name: str) -> list[types.DocumentSymbol]:
        identifier = types.TextDocumentIdentifier(self.uri(name))
        params = types.DocumentSymbolParams(identifier)
        return [*await self.request(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL, params)]

    async def format(self, name: str) -> list[types.TextEdit] | None:
        identifier = types.TextDocumentIdentifier(self.uri(name))
        options = types.FormattingOptions(tab_size=2, insert_spaces=True)
        params = types.DocumentFormattingParams(identifier, options)
        found: list[types.TextEdit] | None
        found = await self.request(types.TEXT_DOCUMENT_FORMATTING, params)
        return found


def _replaced(data: Any, old: str, new: str) -> Any:
    if isinstance(data, dict):
        return {key: _replaced(value, old, new) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_replaced(value, old, new) for value in data]
    return data.replace(old, new) if isinstance(data, str) else data


@asynccontextmanager
async def editor(folder: Path, *flags: str, has_snippets: bool = True) -> AsyncIterator[Editor]:
    """An editor that has `folder` open, connected with a server that runs with these flags."""
    session = Editor(folder)
    await session.client.start_io(*_COMMAND, *flags)
    item = types.ClientCompletionItemOptions(snippet_support=has_snippets)
    completion = types.CompletionClientCapabilities(completion_item=item)
    document = types.TextDocumentClientCapabilities(completion=completion)
    folders = [types.WorkspaceFolder(folder.as_uri(), "project")]
    params = types.InitializeParams(
        types.ClientCapabilities(text_document=document), workspace_folders=folders
    )
    await session.request(types.INITIALIZE, params)
    session.notify(types.INITIALIZED, types.InitializedParams())
    try:
        yield session
        await session.request(types.SHUTDOWN, None)
        session.notify(types.EXIT, None)
        server = session.client._server
        assert server is not None
        assert await asyncio.wait_for(server.wait(), TIMEOUT) == 0
        assert session.messages == []
    finally:
        server = session.client._server
        if server is not None and server.returncode is None:
            server.kill()
        await asyncio.wait_for(session.client.stop(), TIMEOUT)
