"""The language server in this process, spoken to by hand: each message and its answer.

As a process, with a client of its own: `tests/processes/`.
"""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import typer
from lsprotocol import types
from tiny_tokenizer import write_folder

from minillm.console import Failure
from pml.cli.editing import lsp
from pml.lsp import answers
from pml.lsp.documents import Document
from pml.lsp.project import Project

SCHEMA = '<schema name="s"><module name="a">Hello</module></schema>'
WRONG = '<prompt schema="s"><b/></prompt>'


class Wire:
    """An editor's end of two pipes. Every message of the server waits in `heard`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Path | None) -> None:
        self.model = model
        theirs, here = os.pipe()
        back, out = os.pipe()
        self.sink, self.source = os.fdopen(here, "wb"), os.fdopen(back, "rb")
        self.streams = os.fdopen(theirs), os.fdopen(out, "w")
        monkeypatch.setattr(sys, "stdin", self.streams[0])
        monkeypatch.setattr(sys, "stdout", self.streams[1])
        self.heard: Queue[dict[str, Any]] = Queue()
        self.code: int | None = None
        self.count = 0
        self.threads = [Thread(target=self._serve), Thread(target=self._listen)]
        for thread in self.threads:
            thread.start()

    def _serve(self) -> None:
        try:
            lsp(self.model)
            self.code = 0
        except typer.Exit as end:
            self.code = end.exit_code
        finally:
            self.streams[1].close()

    def _listen(self) -> None:
        while header := self.source.readline():
            size = int(header.split(b":")[1])
            while self.source.readline().strip():
                pass
            self.heard.put(json.loads(self.source.read(size)))

    def say(self, method: str, params: object = None, **more: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        self.sink.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.sink.flush()

    def ask(self, method: str, params: object = None) -> Any:
        """The result of a request; what comes before it is let go by."""
        self.count += 1
        self.say(method, params, id=self.count)
        while True:
            heard = self.heard.get(timeout=60)
            if heard.get("id") == self.count and "method" not in heard:
                return heard.get("result")

    def wait(self, method: str) -> Any:
        while True:
            heard = self.heard.get(timeout=60)
            if heard.get("method") == method:
                return heard

    def codes(self, uri: str) -> list[str]:
        """Those of the next diagnostics of a document."""
        while True:
            params = self.wait("textDocument/publishDiagnostics")["params"]
            if params["uri"] == uri:
                return [one["code"] for one in params["diagnostics"]]

    def open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "pml", "version": 1, "text": text}
        self.say("textDocument/didOpen", {"textDocument": document})

    def at(self, method: str, uri: str, character: int, **more: object) -> Any:
        position = {"line": 0, "character": character}
        place = {"textDocument": {"uri": uri}, "position": position}
        return self.ask(f"textDocument/{method}", place | more)

    def leave(self) -> int | None:
        """Hang up, if that is not done yet; the exit code."""
        self.sink.close()
        for thread in self.threads:
            thread.join(timeout=60)
        self.source.close()
        self.streams[0].close()
        return self.code


@contextmanager
def wired(monkeypatch: pytest.MonkeyPatch, model: Path | None = None) -> Iterator[Wire]:
    """In the test itself: between its phases pytest has streams of its own."""
    wire = Wire(monkeypatch, model)
    try:
        yield wire
    finally:
        wire.leave()


WATCHES = {"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}


def test_a_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with wired(monkeypatch) as wire:
        (tmp_path / "s.pml").write_text(SCHEMA)
        folder = {"uri": tmp_path.as_uri(), "name": "project"}
        told = wire.ask("initialize", {"capabilities": WATCHES, "workspaceFolders": [folder]})
        assert told["capabilities"]["positionEncoding"] == "utf-16"
        wire.say("initialized", {})
        asked = wire.wait("client/registerCapability")
        assert asked["params"]["registrations"][0]["method"] == "workspace/didChangeWatchedFiles"
        uri = (tmp_path / "ask.pml").as_uri()
        wire.open(uri, WRONG)
        assert wire.codes(uri) == ["unknown-module"]
        wire.open("untitled:other", '<prompt schema="s"/>')
        assert wire.codes("untitled:other") == []
        whole = {"uri": uri, "version": 2}
        changed = {
            "textDocument": whole,
            "contentChanges": [{"text": WRONG.replace("<b/>", "<a/>")}],
        }
        wire.say("textDocument/didChange", changed)
        assert wire.codes(uri) == []
        assert "**module** `/a`" in wire.at("hover", uri, 21)["contents"]["value"]
        assert wire.at("completion", uri, 20)["items"][0]["label"] == "a"
        assert wire.at("definition", uri, 21)["uri"] == (tmp_path / "s.pml").as_uri()
        (symbol,) = wire.ask("textDocument/documentSymbol", {"textDocument": {"uri": uri}})
        assert symbol["name"] == "s"
        options = {"tabSize": 2, "insertSpaces": True}
        form = {"textDocument": {"uri": uri}, "options": options}
        (edit,) = wire.ask("textDocument/formatting", form)
        assert edit["newText"] == '<prompt schema="s"><a/></prompt>\n'
        bad = [{"range": {"start": place(0, 20), "end": place(0, 21)}, "text": "c"}]
        wire.say("textDocument/didChange", {"textDocument": whole, "contentChanges": bad})
        assert wire.codes(uri) == ["unknown-module"]
        (tmp_path / "s.pml").write_text(SCHEMA.replace('"a"', '"c"'))
        wire.say("workspace/didChangeWatchedFiles", {"changes": []})
        assert wire.codes(uri) == []
        wire.say("textDocument/didSave", {"textDocument": {"uri": uri}})
        assert wire.codes(uri) == []
        moved = {"event": {"added": [], "removed": [folder]}}
        wire.say("workspace/didChangeWorkspaceFolders", moved)
        assert wire.codes(uri) == []
        wire.say("textDocument/didClose", {"textDocument": {"uri": uri}})
        assert wire.codes(uri) == []
        wire.ask("shutdown")
        wire.say("exit")
        assert wire.leave() == 0


def place(line: int, character: int) -> dict[str, int]:
    return {"line": line, "character": character}


def test_a_document_that_was_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with wired(monkeypatch) as wire:
        wire.ask("initialize", {"capabilities": {}, "rootUri": "file:///nowhere"})
        wire.say("initialized", {})
        uri = "untitled:x"
        wire.say("textDocument/didClose", {"textDocument": {"uri": uri}})
        changed = {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [{"text": ""}]}
        wire.say("textDocument/didChange", changed)
        for method in ("hover", "completion", "definition"):
            assert wire.at(method, uri, 0) is None
        assert wire.ask("textDocument/documentSymbol", {"textDocument": {"uri": uri}}) is None
        options = {"tabSize": 2, "insertSpaces": True}
        form = {"textDocument": {"uri": uri}, "options": options}
        assert wire.ask("textDocument/formatting", form) is None
        assert wire.leave() == 1  # no goodbye was said


def test_a_bug_in_a_check_leaves_the_other_documents_checked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = answers.diagnostics

    def broken(document: Document, project: Project) -> list[types.Diagnostic]:
        if document.uri == "untitled:broken":
            raise RuntimeError("a bug")
        return real(document, project)

    monkeypatch.setattr(answers, "diagnostics", broken)
    with wired(monkeypatch) as wire:
        wire.ask("initialize", {"capabilities": {}})
        wire.open("untitled:broken", SCHEMA)
        wire.open("untitled:s", SCHEMA)
        assert wire.codes("untitled:s") == []
        wire.ask("shutdown")
        wire.say("exit")
        assert wire.leave() == 0
    assert "cannot check untitled:broken" in caplog.text


def test_without_pygls_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pml.lsp.server", raising=False)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pygls.lsp.server", None)
        with pytest.raises(Failure, match=r"needs the package pygls: in .* pip install -e"):
            lsp()
    monkeypatch.setitem(sys.modules, "pml.lsp.answers", None)
    monkeypatch.delattr("pml.lsp.answers")
    with pytest.raises(ModuleNotFoundError, match="answers"):
        lsp()


def test_a_model_is_read_before_anything_is_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with wired(monkeypatch, write_folder(tmp_path / "tiny")) as wire:
        wire.ask("initialize", {"capabilities": {}})
        wire.open("untitled:s", SCHEMA)
        assert "3 tokens" in wire.at("hover", "untitled:s", 25)["contents"]["value"]


def test_on_a_terminal_it_says_who_starts_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    here, there = pty.openpty()
    os.write(here, b"\x04")
    with os.fdopen(there) as terminal, (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(typer.Exit):
            lsp()
    os.close(here)
    assert "an editor starts it" in capsys.readouterr().err
