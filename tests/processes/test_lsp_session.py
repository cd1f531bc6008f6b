"""An editing session over the travel example, recorded: `data/lsp_session.jsonl` is all of it.

RECORD=1 python -m pytest tests/processes/test_lsp_session.py    writes it anew, to be read and kept
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
from lsp_client import Editor, editor

ROOT = Path(__file__).parent.parent.parent
RECORDED = Path(__file__).parent / "data" / "lsp_session.jsonl"
MODEL = ROOT / "weights" / "smollm2-135m-instruct"


async def write_a_prompt(session: Editor, folder: Path) -> None:
    session.note("The schema and its prompt are opened; nothing is wrong.")
    session.open("schema.pml", (folder / "schema.pml").read_text())
    assert await session.diagnostics("schema.pml") == []
    session.open("prompt.pml", (folder / "prompt.pml").read_text())
    assert await session.diagnostics("prompt.pml") == []

    session.note("What things are: a module, an argument, the whole prompt, a union, a parameter.")
    assert "member of a required union" in (await session.hover("prompt.pml", "coast") or "")
    assert "3 of 8 tokens" in (await session.hover("prompt.pml", "country") or "")
    assert "the answer starts at" in (await session.hover("prompt.pml", "schema") or "")
    assert "exactly one of" in (await session.hover("schema.pml", "union") or "")
    assert "default “spring”" in (await session.hover("schema.pml", 'param name="month"') or "")
    assert "imports exactly one" in (await session.hover("schema.pml", "required") or "")

    session.note("Where they are declared, and what a document holds.")
    children = await session.definition("prompt.pml", "children")
    assert children is not None and children.uri == session.uri("schema.pml")
    line = session.texts[children.uri].splitlines()[children.range.start.line]
    assert line.strip() == '<module name="children">'
    (prompt,) = await session.symbols("prompt.pml")
    assert [one.name for one in prompt.children or ()] == ["trip", "frugal", "user"]
    (schema,) = await session.symbols("schema.pml")
    assert schema.name == "travel"

    session.note("A slip of the fingers, and its correction.")
    session.edit("prompt.pml", "<children/>", "<childern/>")
    (wrong,) = await session.diagnostics("prompt.pml")
    assert wrong.message.endswith("did you mean 'children'?")
    session.edit("prompt.pml", "<childern/>", "")
    assert await session.diagnostics("prompt.pml") == []

    session.note("A half-typed tag: the document is no XML, and that is where help is needed.")
    session.edit("prompt.pml", "</coast>", "<</coast>")
    (malformed,) = await session.diagnostics("prompt.pml")
    assert malformed.code == "malformed-xml"
    tags = await session.complete("prompt.pml", "<</coast>", 1)
    assert next(iter(tags)) == "children"
    session.edit("prompt.pml", "<</coast>", "<children/></coast>")
    assert await session.diagnostics("prompt.pml") == []

    session.note("What could stand there: arguments, values of the language, names of schemas.")
    session.edit("prompt.pml", ' month="June"', " ")
    assert await session.diagnostics("prompt.pml") == []
    assert "month" in await session.complete("prompt.pml", 'days" >', 6)
    assert "travel" in await session.complete("prompt.pml", "travel", 0)
    assert {"true", "false"} == (await session.complete("schema.pml", 'true"', 0)).keys()

    session.note("The prompt in its canonical form: a blank too many goes.")
    (edit,) = await session.format("prompt.pml") or ()
    assert '<trip duration="seven days">' in edit.new_text

    session.note("The schema is changed; the prompt is told at once.")
    session.edit("schema.pml", 'name="frugal"', 'name="thrifty"')
    assert await session.diagnostics("schema.pml") == []
    (unknown,) = await session.diagnostics("prompt.pml")
    assert unknown.code == "unknown-module"


@pytest.mark.model
def test_a_session_is_as_recorded(tmp_path: Path) -> None:
    for name in ("schema.pml", "prompt.pml"):
        shutil.copy(ROOT / "examples" / "travel" / name, tmp_path)

    async def session() -> list[dict[str, object]]:
        async with editor(tmp_path, "--model", str(MODEL)) as opened:
            await write_a_prompt(opened, tmp_path)
        return opened.log

    log = asyncio.run(session())
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in log)
    if "RECORD" in os.environ:
        RECORDED.write_text(lines, encoding="utf-8")
    assert lines == RECORDED.read_text(encoding="utf-8")
