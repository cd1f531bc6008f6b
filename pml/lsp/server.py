"""The server: messages of the protocol to calls of this package, and its answers back.

Documents are kept here, not by `pygls` (see `text`). Messages are read while work goes on in one
thread of its own; documents are checked when nobody has typed for `QUIET` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from pml.lsp import answers
from pml.lsp.completion import complete
from pml.lsp.documents import Document, OpenDocument, path_of
from pml.lsp.hover import hover
from pml.lsp.places import definition, outline
from pml.lsp.project import Model, Project

QUIET = 0.15
log = logging.getLogger("pml")
_WATCHED = "**/*.{pml,xml}"
Answer = TypeVar("Answer")


def serve(model: Model | None = None) -> bool:
    """Talk to an editor over stdin and stdout; whether it said goodbye before it hung up.

    What anything else prints goes to stderr.
    """
    server = LanguageServer("pml", version("modular-prompt-cache"), protocol_cls=_Protocol)
    protocol = server.protocol
    assert isinstance(protocol, _Protocol)
    protocol.project.model = model
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stdout, redirect_stdout(sys.stderr):
        server.start_io(stdout=stdout)
    return protocol._shutdown


class _Protocol(LanguageServerProtocol):
    """One method for each message. Notifications change the documents at once and in order."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.project = Project()
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.check: asyncio.Task[None] | None = None
        self.to_check: set[str] = set()
        self.has_snippets = False
        super().__init__(*arguments, **named)
        triggers = ["<", " ", '"', "'", "/"]
        options = types.CompletionOptions(trigger_characters=triggers)
        self.fm.feature_options[types.TEXT_DOCUMENT_COMPLETION] = options

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(
        self, params: types.InitializeParams
    ) -> Generator[Any, Any, types.InitializeResult]:
        result = yield from super().lsp_initialize(params)
        result.capabilities.position_encoding = types.PositionEncodingKind.Utf16
        self.has_snippets = answers.has_snippets(params.capabilities)
        self.set_folders(params.workspace_folders or ())
        if not params.workspace_folders and params.root_uri:
            self.set_folders([types.WorkspaceFolder(params.root_uri, "")])
        return result

    @lsp_method(types.INITIALIZED)
    async def lsp_initialized(self, *_: Any) -> None:
        """Ask to be told of files that change on disk, if the editor can."""
        workspace = self.client_capabilities.workspace
        watching = workspace.did_change_watched_files if workspace else None
        if watching is not None and watching.dynamic_registration:
            watcher = types.FileSystemWatcher(_WATCHED)
            options = types.DidChangeWatchedFilesRegistrationOptions([watcher])
            method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
            registration = types.Registration("watched", method, options)
            params = types.RegistrationParams([registration])
            await self._server.client_register_capability_async(params)

    def set_folders(self, folders: Iterable[types.WorkspaceFolder]) -> None:
        paths = (path_of(folder.uri) for folder in folders)
        self.project.folders = tuple(path for path in paths if path is not None)

    # Documents.

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        opened = params.text_document
        document = OpenDocument(opened.uri, opened.text, opened.version)
        self.project.open[opened.uri] = document
        self.changed(opened.uri)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        document = self.project.open.get(params.text_document.uri)
        if document is not None:
            edits = map(answers.edit, params.content_changes)
            document.change(edits, params.text_document.version)
            self.changed(document.uri)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        if self.project.open.pop(uri, None) is not None:
            self.publish(uri, None, [])
            self.changed(uri)

    @lsp_method(types.TEXT_DOCUMENT_DID_SAVE)
    def lsp_did_save(self, params: types.DidSaveTextDocumentParams) -> None:
        self.changed_on_disk()

    @lsp_method(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def lsp_did_change_files(self, params: types.DidChangeWatchedFilesParams) -> None:
        self.changed_on_disk()

    @lsp_method(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def lsp_workspace__did_change_workspace_folders(
        self, params: types.DidChangeWorkspaceFoldersParams
    ) -> None:
        removed = {path_of(folder.uri) for folder in params.event.removed}
        kept = [folder for folder in self.project.folders if folder not in removed]
        self.set_folders(params.event.added)
        self.project.folders = (*kept, *self.project.folders)
        self.changed_on_disk()

    # Diagnostics.

    def changed_on_disk(self) -> None:
        self.worker.submit(self.project.forget)
        self.changed(*self.project.open)

    def changed(self, *uris: str) -> None:
        """Check these documents soon; prompts with them if one of them is no prompt."""
        self.to_check.update(uris)
        if self.check is not None:
            self.check.cancel()
        self.check = asyncio.get_running_loop().create_task(self.check_when_quiet())

    async def check_when_quiet(self) -> None:
        await asyncio.sleep(QUIET)
        opened = [one.document() for one in self.project.open.values()]
        prompts = {one.uri for one in opened if one.is_prompt}
        if self.to_check - prompts:
            self.to_check |= prompts
        for document in opened:
            if document.uri in self.to_check:
                try:
                    found = await self.work(partial(answers.diagnostics, document, self.project))
                    self.publish(document.uri, document.version, found)
                except Exception:  # a bug of ours: the other documents are still checked
                    log.exception("cannot check %s", document.uri)
                self.to_check.discard(document.uri)
        self.to_check &= self.project.open.keys()

    def publish(self, uri: str, version: int | None, found: Sequence[types.Diagnostic]) -> None:
        params = types.PublishDiagnosticsParams(uri, [*found], version)
        self._server.text_document_publish_diagnostics(params)

    # Requests.

    async def work(self, task: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self.worker, task)

    def document(self, identifier: types.TextDocumentIdentifier) -> Document | None:
        """The document as it stands when a request comes; None if it was never opened."""
        opened = self.project.open.get(identifier.uri)
        return opened.document() if opened else None

    @lsp_method(types.TEXT_DOCUMENT_HOVER)
    async def lsp_hover(self, params: types.HoverParams) -> types.Hover | None:
        document = self.document(params.text_document)
        if document is None:
            return None
        offset = document.text.offset(answers.position(params.position))
        found = await self.work(lambda: hover(document, offset, self.project))
        return answers.hover(found, document)

    @lsp_method(types.TEXT_DOCUMENT_COMPLETION)
    async def lsp_completion(self, params: types.CompletionParams) -> types.CompletionList | None:
        document = self.document(params.text_document)
        if document is None:
            return None
        offset = document.text.offset(answers.position(params.position))
        found = await self.work(lambda: complete(document, offset, self.project))
        return answers.completions(found, document, offset, self.has_snippets)

    @lsp_method(types.TEXT_DOCUMENT_DEFINITION)
    async def lsp_definition(self, params: types.DefinitionParams) -> types.Location | None:
        document = self.document(params.text_document)
        if document is None:
            return None
        offset = document.text.offset(answers.position(params.position))
        return answers.target(await self.work(lambda: definition(document, offset, self.project)))

    @lsp_method(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    async def lsp_symbols(
        self, params: types.DocumentSymbolParams
    ) -> list[types.DocumentSymbol] | None:
        document = self.document(params.text_document)
        if document is None:
            return None
        return await self.work(lambda: answers.symbols(outline(document), document))

    @lsp_method(types.TEXT_DOCUMENT_FORMATTING)
    async def lsp_formatting(
        self, params: types.DocumentFormattingParams
    ) -> list[types.TextEdit] | None:
        document = self.document(params.text_document)
        if document is None:
            return None
        return await self.work(lambda: answers.formatting(document))
