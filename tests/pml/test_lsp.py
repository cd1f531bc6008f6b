"""What the language server says of documents, and what must not bring it down.

The server itself, over stdin and stdout: `tests/processes/`.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from lsprotocol import types
from trip import EDITED_PROMPT as PROMPT
from trip import EDITED_SCHEMA as SCHEMA

from minillm.tokenizer import ByteTokenizer
from pml.lsp.answers import completions, diagnostics, formatting, symbols, target
from pml.lsp.answers import hover as hover_answer
from pml.lsp.completion import complete
from pml.lsp.documents import Document, OpenDocument, path_of
from pml.lsp.files import SchemaFiles, files_below
from pml.lsp.hover import hover
from pml.lsp.places import definition, outline
from pml.lsp.project import Model, Project
from pml.lsp.text import Text


def project_with(
    *documents: tuple[str, str], model: Model | None = None
) -> tuple[Project, list[Document]]:
    project = Project(model)
    for uri, text in documents:
        project.open[uri] = OpenDocument(uri, text, 1)
    return project, [one.document() for one in project.open.values()]


def everything(document: Document, project: Project, offset: int) -> None:
    """Ask all that an editor can ask."""
    diagnostics(document, project)
    hover_answer(hover(document, offset, project), document)
    completions(complete(document, offset, project), document, offset, True)
    definition(document, offset, project)
    symbols(outline(document), document)


MANY = "".join(f'<module name="m{i}"/>' for i in range(1_100))


class TestDocuments:
    def test_the_nearest_schema_of_a_name_is_taken(self, tmp_path: Path) -> None:
        inner, outer = tmp_path / "a" / "b", tmp_path / "a"
        inner.mkdir(parents=True)
        (tmp_path / "far.pml").write_text(SCHEMA)
        (outer / "near.pml").write_text(SCHEMA.replace("rome", "roma"))
        (inner / "notes.xml").write_text("<notes/>")
        prompt = Document((inner / "ask.pml").as_uri(), Text(PROMPT))
        project = Project()
        project.folders = (tmp_path,)

        def children() -> list[str]:
            read = project.schema_of(prompt)
            assert read is not None and read.tree is not None
            return [one.name for one in outline(read.document)[0].children[0].children]

        found = project.schema_of(prompt)
        assert found is not None and found.document.path == outer / "near.pml"
        (inner / "here.pml").write_text(SCHEMA)
        found = project.schema_of(prompt)
        assert found is not None and found.document.path == inner / "here.pml"
        uri = (inner / "here.pml").as_uri()
        project.open[uri] = OpenDocument(uri, SCHEMA.replace("when", "if"), 1)
        assert children()[0] == "if"
        assert project.schema_names(prompt) == ["trip"]

    @pytest.mark.parametrize(
        ("uri", "text", "found"),
        [
            ("file:///d/x.pml", "<note/>", ["wrong-root"]),
            ("file:///d/x.xml", "<note/>", []),
            ("file:///d/x.pml", "", ["malformed-xml"]),
            ("untitled:x", "<note/>", ["wrong-root"]),
            ("git:/d/x.pml?ref", "<prompt schema='s'>", ["malformed-xml"]),
            ("file://host/d/x.pml", "<schema name='s'/>", []),
            ("file:///d/%00.pml", "<schema name='s'/>", []),
        ],
    )
    def test_documents_of_any_kind(self, uri: str, text: str, found: list[str]) -> None:
        project, (document,) = project_with((uri, text))
        assert [one.code for one in diagnostics(document, project)] == found

    def test_what_is_no_file_has_no_path(self) -> None:
        assert path_of("untitled:a") is None
        assert path_of("file:///a%20b.pml") == Path("/a b.pml")

    def test_files_that_are_not_there_or_cannot_be_read(self, tmp_path: Path) -> None:
        files, path = SchemaFiles(), tmp_path / "s.pml"
        assert (files.name_in(path), files.document(path)) == (None, None)
        assert list(files_below([tmp_path / "none"])) == []
        path.write_text(SCHEMA)
        assert files.name_in(path) == "trip"
        assert files.document(path) is files.document(path)
        assert files.name_in(Path("/proc/self/mem")) is None  # a file that gives an error

    def test_places_in_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "bad.txt").write_bytes(b"a\n\xff")
        text = '<schema name="s"><module src="bad.txt"/></schema>'
        project, (schema, prompt) = project_with(
            ((tmp_path / "s.pml").as_uri(), text), ("untitled:p", '<prompt schema="s"/>')
        )
        (found,) = diagnostics(schema, project)
        assert found.message.startswith(f"{tmp_path}/bad.txt:2:1: ")
        (broken,) = diagnostics(prompt, project)
        assert "schema 's' has errors" in broken.message
        assert broken.related_information is None

    def test_the_other_place_of_an_error_in_the_same_document(self) -> None:
        twice = '<prompt schema="trip"><when/><when/></prompt>'
        project, (_, prompt) = project_with(("untitled:s", SCHEMA), ("untitled:p", twice))
        (found,) = diagnostics(prompt, project)
        (first,) = found.related_information or ()
        assert first.location.uri == "untitled:p"
        assert first.location.range.start.character == twice.index("<when")

    def test_an_empty_document_names_no_schema(self) -> None:
        assert Document("untitled:x", Text("")).schema_name is None

    def test_a_prompt_whose_schema_is_nowhere(self) -> None:
        project, (_, prompt) = project_with(
            ("untitled:s", SCHEMA), ("untitled:p", '<prompt schema="trap"/>')
        )
        (found,) = diagnostics(prompt, project)
        assert found.data == {"suggestion": "trip"}

    def test_what_is_in_form_or_malformed_is_not_formatted(self) -> None:
        for text in ('<prompt schema="s"/>\n', "<prompt"):
            _, (document,) = project_with(("untitled:p", text))
            assert formatting(document) is None


class TestHalfTyped:
    @pytest.mark.parametrize("model", [None, Model(ByteTokenizer(), 512)], ids=["", "model"])
    def test_every_beginning_of_a_document(self, model: Model | None) -> None:
        for end in range(len(PROMPT)):
            documents = (("untitled:s", SCHEMA), ("untitled:p", PROMPT[:end]))
            project, (_, document) = project_with(*documents, model=model)
            everything(document, project, end)
        for end in range(len(SCHEMA)):
            project, (document,) = project_with(("untitled:s", SCHEMA[:end]), model=model)
            everything(document, project, end)

    @pytest.mark.fuzz
    def test_documents_with_a_piece_missing_or_put_in(self) -> None:
        source, pieces = random.Random(7), [*"<>/\"'&= \n", "<module ", "</", "<!--", "😋", "<use "]
        for _ in range(300):
            schema, prompt = (mutated(text, source, pieces) for text in (SCHEMA, PROMPT))
            project, documents = project_with(
                ("untitled:s", schema), ("untitled:p", prompt), model=Model(ByteTokenizer(), 512)
            )
            for document in documents:
                everything(document, project, source.randrange(len(document.text.content) + 1))

    @pytest.mark.parametrize(
        ("before", "first"),
        [
            ("<prompt schema='trip'><", "when"),
            ("<prompt schema='trip'>go <w", "when"),
            ("<prompt schema='trip'><rome><", "food"),
            ("<prompt schema='trip'><user><", "when"),
            ("<prompt schema='trip'><user><rome><", "food"),
            ("<prompt schema='trip'><when ", "month"),
            ("<prompt schema='trip'><when mo", "month"),
            ("<prompt schema='trip'><when month='May' ", None),
            ("<prompt schema='trip'><goa ", "what"),
            ("<prompt schema='trip'><use module='", "when"),
            ("<prompt schema='trip'><goa><arg name='", "what"),
            ("<prompt schema='trip'><goa></", "/goa"),
            ("<prompt schema='", "trip"),
            ("<prompt ", "schema"),
            ("<", "schema"),
            ("<schema name='x'><", "module"),
            ("<schema name='x'><union><", "module"),
            ("<schema name='x' ", "layout"),
            ("<schema name='x' attention='", "guaranteed"),
            ("<schema name='x'><module cache='f", "true"),
            ("<schema name='x'><zebra><", None),
            ("<prompt schema='trip'><nowhere ", None),
            ("<prompt schema='trip'>Text ", None),
            ("<prompt schema='trip'><!-- <", None),
        ],
    )
    def test_what_is_proposed_first(self, before: str, first: str | None) -> None:
        project, (_, document) = project_with(("untitled:s", SCHEMA), ("untitled:p", before))
        found = complete(document, len(before), project)
        assert (found[0].label if found else None) == first

    def test_a_module_whose_name_is_no_tag_is_proposed_by_use(self) -> None:
        before = "<prompt schema='trip'><"
        project, (_, document) = project_with(("untitled:s", SCHEMA), ("untitled:p", before))
        (found,) = (p for p in complete(document, len(before), project) if p.label == "a <b>")
        assert found.before == 'use module="a &lt;b&gt;"'

    @pytest.mark.parametrize(
        ("marked", "labels"),
        [
            ('<union scaffold="|"><module name="a"/></union><module name="b"/>', ["a"]),
            ('<param name="p" len="2" scaffold="|"/>', []),
            (MANY + '<scaffold modules="|"/>', [f"m{i}" for i in range(1_000)]),
            (
                '<module name="a"><module name="b"/></module><scaffold modules="a a/|"/>',
                ["a", "a/b"],
            ),
        ],
    )
    def test_names_of_modules_in_a_schema(self, marked: str, labels: list[str]) -> None:
        marked = f'<schema name="s">{marked}</schema>'
        project, (document,) = project_with(("untitled:s", marked.replace("|", "")))
        assert [p.label for p in complete(document, marked.index("|"), project)] == labels


def mutated(text: str, source: random.Random, pieces: list[str]) -> str:
    for _ in range(source.randrange(1, 4)):
        start = source.randrange(len(text))
        stop = start + source.choice([0, 0, 1, 5, 40])
        text = text[:start] + source.choice([*pieces, ""]) + text[stop:]
    return text


class TestHover:
    @pytest.mark.parametrize(
        ("word", "skip", "lines"),
        [
            ("schema", 0, ["**schema** `trip`", "positions 0 to ", "modules inside: `when`"]),
            ('module name="when"', 8, ["**module** `/when`", "parameters: `month` (at most 6"]),
            ('module name="rome"', 0, ["member of a union: `rome` | `goa`", "of them its own"]),
            ('"a &lt;b&gt;"/>', 1, ["**module** `/a <b>`", "no position (it stands at"]),
            (
                "union",
                0,
                ["at most one of `rome` | `goa`", "positions of each: `rome` 22, `goa` 21"],
            ),
            ("param", 0, ["**parameter** `/when:month`", "at most 6 tokens; default “May”"]),
            ('param name="what"', 0, ["no default: it needs an argument"]),
            ("system", 0, ["chat markers: 8 tokens before, 2 after"]),
            ("scaffold=", 0, ["`scaffold` The member that"]),
            ("scaffold modules", 0, ["`<scaffold>` Modules that get"]),
            ("/union", 2, ["**union**"]),
            ("plan travel", 0, []),
        ],
    )
    def test_in_a_schema(self, word: str, skip: int, lines: list[str]) -> None:
        for model in (Model(ByteTokenizer(), 512), None):
            project, (schema,) = project_with(("untitled:s", SCHEMA), model=model)
            found = hover(schema, SCHEMA.index(word) + skip, project)
            assert (found is not None) == bool(lines)
            for line in lines if found and model else []:
                assert line in found.markdown
            if found and not model and word not in ("scaffold=", "scaffold modules"):
                assert "start `pml lsp --model DIR`" in found.markdown

    @pytest.mark.parametrize(
        ("word", "skip", "lines"),
        [
            ("prompt", 0, ["**schema** `trip`", "the answer starts at position"]),
            ("<goa", 1, ["**module** `/goa`", "in this prompt: positions "]),
            ("June", 0, ["**parameter** `/when:month`", "this argument: 4 of 6 tokens"]),
            ("<arg", 1, ["**parameter** `/goa:what`"]),
            ("user", 0, ["The user's turn", "chat markers: 6 tokens before"]),
            ("Where", 0, []),
        ],
    )
    def test_in_a_prompt(self, word: str, skip: int, lines: list[str]) -> None:
        documents = (("untitled:s", SCHEMA), ("untitled:p", PROMPT))
        project, (_, prompt) = project_with(*documents, model=Model(ByteTokenizer(), 512))
        found = hover(prompt, PROMPT.index(word) + skip, project)
        assert (found is not None) == bool(lines)
        for line in lines if found else []:
            assert line in found.markdown

    def test_a_turn_that_the_model_does_not_know(self) -> None:
        schema = SCHEMA.replace("<system>", "").replace("</system>", "")
        documents = (("untitled:s", schema), ("untitled:p", PROMPT))
        model = Model(ByteTokenizer(roles=False), 512)
        project, (_, prompt) = project_with(*documents, model=model)
        found = hover(prompt, PROMPT.index("user"), project)
        assert found and "this model has no such turn" in found.markdown

    def test_an_attribute_of_the_language_in_a_prompt_has_its_meaning(self) -> None:
        text = PROMPT.replace("<user>", '<user space="preserve">')
        project, (prompt,) = project_with(("untitled:p", text))
        found = hover(prompt, text.index("space"), project)
        assert found and "`preserve`: every character is kept" in found.markdown


class TestDefinitions:
    @pytest.mark.parametrize(
        ("word", "skip", "declared"),
        [
            ("<when", 1, '<module name="when"'),
            ("month", 0, '<param name="month"'),
            ("</goa", 3, '<module name="goa"'),
            ("<arg", 1, '<param name="what"'),
            ("a &lt;b", 1, '<module name="a &lt;b'),
            ("trip", 0, "<schema"),
            ("<user", 1, None),
            ("Where", 1, None),
        ],
    )
    def test_of_a_prompt(self, word: str, skip: int, declared: str | None) -> None:
        project, (_, prompt) = project_with(("untitled:s", SCHEMA), ("untitled:p", PROMPT))
        found = definition(prompt, PROMPT.index(word) + skip, project)
        assert (found is None) == (declared is None)
        assert found is None or SCHEMA[found.start :].startswith(declared or "")

    @pytest.mark.parametrize(
        ("word", "declared"),
        [
            ('goa">\n', '<module name="goa"'),
            ("when rome", '<module name="when"'),
            ('rome/food"', '<module name="food"'),
            ("goa/>", None),
            ('when">', None),
        ],
    )
    def test_of_a_schema(self, word: str, declared: str | None) -> None:
        project, (schema,) = project_with(
            ("untitled:s", SCHEMA.replace("</union>", "</union><goa/>"))
        )
        found = definition(schema, schema.text.content.index(word) + 1, project)
        assert (found is None) == (declared is None)
        assert found is None or schema.text.content[found.start :].startswith(declared or "")

    def test_of_a_file(self, tmp_path: Path) -> None:
        text = (
            '<schema name="s"><module name="m" src="a.txt"/><module name="n" src="b.txt"/></schema>'
        )
        (tmp_path / "a.txt").write_text("Hello")
        project, (schema,) = project_with(((tmp_path / "s.pml").as_uri(), text))
        found = definition(schema, text.index("a.txt"), project)
        assert found is not None and found.uri == (tmp_path / "a.txt").as_uri()
        assert definition(schema, text.index("b.txt"), project) is None
        unsaved, (document,) = project_with(("untitled:s", text))
        assert definition(document, text.index("a.txt"), unsaved) is None
        assert target(None) is None and target(found) is not None
        (missing,) = diagnostics(schema, project)
        assert missing.code == "include"


class TestWithAModel:
    def test_a_prompt_that_does_not_fit_its_positions(self) -> None:
        prompt = PROMPT.replace('"June"', '"a month of rain"')
        documents = (("untitled:s", SCHEMA), ("untitled:p", prompt))
        project, (_, document) = project_with(*documents, model=Model(ByteTokenizer(), 512))
        (found,) = diagnostics(document, project)
        assert found.code == "argument-length"
        assert prompt.splitlines()[found.range.start.line][
            found.range.start.character :
        ].startswith("month=")

    def test_a_schema_that_cannot_be_laid_out(self) -> None:
        text = SCHEMA.replace('default="May"', 'default="December"')
        documents = (("untitled:s", text), ("untitled:p", PROMPT))
        project, (schema, prompt) = project_with(*documents, model=Model(ByteTokenizer(), 512))
        (found,) = diagnostics(schema, project)
        assert found.message.startswith("the default of parameter 'month' has 8")
        (told_of,) = diagnostics(prompt, project)
        assert told_of.message.startswith("schema 'trip' has errors")

    def test_warnings_stand_in_the_document_that_they_are_about(self) -> None:
        long = SCHEMA.replace("by train.", "by train. " * 30)
        documents = (("untitled:s", long), ("untitled:p", PROMPT))
        project, (schema, prompt) = project_with(*documents, model=Model(ByteTokenizer(), 200))
        (found,) = diagnostics(schema, project)
        assert (found.code, found.severity) == ("schema-context", types.DiagnosticSeverity.Warning)
        assert {one.code for one in diagnostics(prompt, project)} == {"context-length"}

    def test_in_the_packed_layout_positions_are_the_prompts(self) -> None:
        schema = SCHEMA.replace('name="trip"', 'name="trip" layout="packed"')
        documents = (("untitled:s", schema), ("untitled:p", PROMPT))
        project, (read, prompt) = project_with(*documents, model=Model(ByteTokenizer(), 512))
        declared = hover(read, schema.index("module") + 1, project)
        assert declared and "each prompt gives it its positions" in declared.markdown
        imported = hover(prompt, PROMPT.index("<goa") + 1, project)
        assert imported and "in this prompt: positions " in imported.markdown
        empty = hover(prompt, PROMPT.index("use module") + 1, project)
        assert empty and "in this prompt" not in empty.markdown
        union = hover(read, schema.index("<union") + 1, project)
        assert union and "positions of each: `rome` 22, `goa` 21" in union.markdown
        slot = hover(read, schema.index("<param") + 1, project)
        assert slot and "at most 6 tokens" in slot.markdown and "position" not in slot.markdown


@pytest.mark.fuzz
def test_a_hover_in_a_schema_of_twenty_thousand_modules() -> None:
    module = (
        '<module name="m{}">The module of that number says a few words, and that is all.</module>\n'
    )
    text = (
        '<schema name="large">\n' + "".join(module.format(i) for i in range(20_000)) + "</schema>"
    )
    assert len(text) > 1_500_000
    prompt = '<prompt schema="large"><m19999/></prompt>'
    project, (_, document) = project_with(("untitled:s", text), ("untitled:p", prompt))
    diagnostics(document, project)
    started = time.process_time()
    hover(document, prompt.index("m19999"), project)
    assert time.process_time() - started < 0.5
