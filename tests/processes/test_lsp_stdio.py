"""The language server as a process, spoken to as editors do."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from lsp_client import Editor, editor
from lsprotocol import types
from trip import EDITED_PROMPT as PROMPT
from trip import EDITED_SCHEMA as SCHEMA


def told(folder: Path, task: Callable[[Editor], Awaitable[None]], *flags: str) -> None:
    """Let an editor and a server do `task`."""

    async def session() -> None:
        async with editor(folder, *flags) as opened:
            await task(opened)

    asyncio.run(session())


class TestDocuments:
    def test_a_prompt_is_checked_against_the_schema_that_is_being_edited(
        self, tmp_path: Path
    ) -> None:
        async def task(session: Editor) -> None:
            session.open("ask.pml", PROMPT)
            (missing,) = await session.diagnostics("ask.pml")
            assert missing.severity == types.DiagnosticSeverity.Warning
            assert missing.message.startswith("no schema 'trip' is open, in this folder")
            session.open("untitled:Untitled-1", SCHEMA)
            assert await session.diagnostics("untitled:Untitled-1") == []
            assert await session.diagnostics("ask.pml") == []
            session.edit("untitled:Untitled-1", 'len="6"', 'len="x"')
            (wrong,) = await session.diagnostics("untitled:Untitled-1")
            assert wrong.code == "wrong-value"
            (broken,) = await session.diagnostics("ask.pml")
            assert broken.message == (
                "schema 'trip' has errors; what is said here may be out of date"
            )
            (related,) = broken.related_information or ()
            assert related.location.uri == "untitled:Untitled-1"
            closing = types.DidCloseTextDocumentParams(
                types.TextDocumentIdentifier("untitled:Untitled-1")
            )
            session.notify(types.TEXT_DOCUMENT_DID_CLOSE, closing)
            (missing,) = await session.diagnostics("ask.pml")
            assert missing.code == "other-schema"

        told(tmp_path, task)

    def test_a_schema_on_disk_comes_changes_and_goes(self, tmp_path: Path) -> None:
        (tmp_path / "schemas").mkdir()
        (tmp_path / "prompts").mkdir()
        schema = tmp_path / "schemas" / "trip.xml"

        async def task(session: Editor) -> None:
            def changed(kind: types.FileChangeType) -> None:
                events = [types.FileEvent(session.uri("schemas/trip.xml"), kind)]
                params = types.DidChangeWatchedFilesParams(events)
                session.notify(types.WORKSPACE_DID_CHANGE_WATCHED_FILES, params)

            session.open("prompts/ask.pml", PROMPT)
            assert len(await session.diagnostics("prompts/ask.pml")) == 1
            schema.write_text(SCHEMA)
            changed(types.FileChangeType.Created)
            assert await session.diagnostics("prompts/ask.pml") == []
            schema.write_text(SCHEMA.replace('"goa"', '"mali"'))
            changed(types.FileChangeType.Changed)
            (unknown,) = await session.diagnostics("prompts/ask.pml")
            assert unknown.code == "unknown-module"
            schema.unlink()
            changed(types.FileChangeType.Deleted)
            (missing,) = await session.diagnostics("prompts/ask.pml")
            assert missing.code == "other-schema"

        told(tmp_path, task)


class TestPositions:
    def test_after_surrogate_pairs_and_line_ends_of_all_kinds(self, tmp_path: Path) -> None:
        text = SCHEMA.replace("You plan travel.", "😋 You\u2028plan 𝄞\r\ntravel.\r")

        async def task(session: Editor) -> None:
            session.open("trip.pml", text)
            assert await session.diagnostics("trip.pml") == []
            session.edit("trip.pml", "😋 You", "<b/>😋")
            (unknown,) = await session.diagnostics("trip.pml")
            place = session.position("trip.pml", session.texts[session.uri("trip.pml")].index("<b"))
            assert unknown.range.start == place
            session.edit("trip.pml", "<b/>😋\u2028", "😋😋<c/>")
            (unknown,) = await session.diagnostics("trip.pml")
            assert (unknown.range.start.character, unknown.range.end.character) == (14, 16)
            assert "**module** `/when`" in (
                await session.hover("trip.pml", 'module name="when"') or ""
            )

        told(tmp_path, task)

    def test_a_thousand_quick_edits(self, tmp_path: Path) -> None:
        source = random.Random(1)

        async def task(session: Editor) -> None:
            session.open("trip.pml", SCHEMA.replace("travel", "𝄞 travel"))
            assert await session.diagnostics("trip.pml") == []
            for _ in range(1_000):
                text = session.texts[session.uri("trip.pml")]
                start = source.randrange(len(text) - 3)
                old = text[start : start + source.randrange(1, 3)]
                if text.index(old) == start:
                    session.edit("trip.pml", old, source.choice(["", "\r", "\n", "é", "😋", old]))
            session.edit(
                "trip.pml", session.texts[session.uri("trip.pml")], '<schema name="s">\n𝄞<x/>'
            )
            (malformed,) = await session.diagnostics("trip.pml")
            assert malformed.message.startswith("the document ends inside <schema>")
            (schema,) = await session.symbols("trip.pml")
            (x,) = schema.children or ()
            assert x.range.start == types.Position(1, 2)

        told(tmp_path, task)


@pytest.mark.fuzz
def test_a_schema_of_twenty_thousand_modules(tmp_path: Path) -> None:
    module = (
        '<module name="m{}">The module of that number says a few words, and that is all.</module>\n'
    )
    text = (
        '<schema name="large">\n' + "".join(module.format(i) for i in range(20_000)) + "</schema>"
    )
    assert len(text) > 1_500_000

    async def task(session: Editor) -> None:
        session.open("large.pml", text)
        session.open("ask.pml", '<prompt schema="large"><m19999/></prompt>')
        assert await session.diagnostics("large.pml") == []
        assert await session.diagnostics("ask.pml") == []
        assert "`/m19999`" in (await session.hover("ask.pml", "m19999") or "")
        assert len((await session.symbols("large.pml"))[0].children or ()) == 20_000

    told(tmp_path, task)


def command(code: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code + "; from pml.cli import main; main()", *arguments],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_pygls_one_line_says_so() -> None:
    done = command("import sys; sys.modules['pygls.lsp.server'] = None", "lsp")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the language server needs the package pygls")
    assert len(done.stderr.splitlines()) == 1


def test_a_model_that_is_not_there_is_told_before_anything_is_served(tmp_path: Path) -> None:
    done = command("pass", "lsp", "--model", str(tmp_path / "none"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_an_editor_that_hangs_up_ends_the_server() -> None:
    done = command("pass", "lsp")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_the_server_does_without_torch() -> None:
    code = "import sys, pml.cli, pml.lsp.server; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
