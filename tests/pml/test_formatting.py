"""`pml fmt`: canonical, idempotent, and nothing of a document's meaning or comments changes."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pml.cli import app
from pml.errors import PMLError
from pml.formatting import format_document
from pml.prompt import parse_prompt
from pml.schema import parse_schema

ROOT = Path(__file__).parents[2]
PUBLIC = sorted((ROOT / "tests" / "pml" / "data" / "reference_schemas").glob("p*.xml"))
EXAMPLES = sorted((ROOT / "examples").glob("*/*.pml"))

BEFORE = """<?xml version='1.0'?>
<!-- top -->


<schema  attention='isolated' name='trip'><!-- c1 -->
<system>
        You plan travel.
      Always
        politely.
    <module name="when">We go in <param len="6" name="month" default='"May"'></param>.</module>
    <union> <module name="rome">To Rome: the old streets.
        <module name="food">And the food.</module></module> <!-- beside -->


      <module name="goa">To Goa: the sea and the sun.</module></union>
  </system>
 <scaffold modules="when rome"/>
 <module space="preserve" name="code">  if x:
     go()
     <user space="default">
  then
</user></module>
 <module name="list">
        - a
          - b

        - c <!-- not
        moved --><![CDATA[ <d> ]]>
           </module><module name="empty">
 </module>
</schema><!-- end -->"""

AFTER = """<?xml version='1.0'?>
<!-- top -->

<schema name="trip" attention="isolated">
  <!-- c1 -->
  <system>
    You plan travel.
    Always
      politely.
    <module name="when">We go in <param name="month" len="6" default="&quot;May&quot;"/>.</module>
    <union>
      <module name="rome">To Rome: the old streets.
        <module name="food">And the food.</module></module> <!-- beside -->

      <module name="goa">To Goa: the sea and the sun.</module>
    </union>
  </system>
  <scaffold modules="when rome"/>
  <module name="code" space="preserve">  if x:
     go()
     <user space="default">
      then
    </user></module>
  <module name="list">
        - a
          - b

        - c <!-- not
        moved --><![CDATA[ <d> ]]>
  </module>
  <module name="empty"/>
</schema>
<!-- end -->
"""


def formatted(text: str) -> str:
    return format_document(text, "f")


def test_it_looks_like_this() -> None:
    assert formatted(BEFORE) == AFTER
    assert formatted(AFTER) == AFTER


SMALL = [
    (f"<schema name='s'>{before}</schema>", f'<schema name="s">{after}</schema>')
    for before, after in [
        (" Hi  <module></module>  you ", "Hi <module/> you"),
        ("<module/> <module/>", "<module/> <module/>"),
        ("<module/>\n<module/>", "\n  <module/>\n  <module/>\n"),
        ("&#10; a &lt; b", "&#10; a &lt; b"),
        ("\n a&#9;\n", "\n  a&#9;\n"),
        ("<!--a--> <!--b-->", "\n  <!--a--> <!--b-->\n"),
    ]
]
SMALL += [
    ("<schema name='s'></schema>", '<schema name="s"/>'),
    ("<schema name='s'> \n </schema>", '<schema name="s"/>'),
    ("<schema name='s'><![CDATA[ ]]></schema>", '<schema name="s"/>'),
    (
        "<schema space='preserve' name='s'> </schema>",
        '<schema name="s" space="preserve"> </schema>',
    ),
    ("<schema version='1' name='s'/>", '<schema name="s" version="1"/>'),
    ("<prompt days='3' schema='s'/>", '<prompt schema="s" days="3"/>'),
    (
        "<prompt schema='s'><x b='1' a='2'></x></prompt>",
        '<prompt schema="s"><x b="1" a="2"/></prompt>',
    ),
    (
        "<prompt schema='s'><arg name='a'> b\n c </arg>\n<x space='preserve'>\n y\n</x></prompt>",
        '<prompt schema="s">\n  <arg name="a">b\n    c</arg>\n'
        '  <x space="preserve">\n    y\n  </x>\n</prompt>',
    ),
    (
        "<prompt schema='s'>Hi <arg name='a'>b</arg> you</prompt>",
        '<prompt schema="s">Hi <arg name="a">b</arg> you</prompt>',
    ),
    ("\ufeff<prompt schema='s'\r\n x='a\r\nb\tc'/>\r\n", '<prompt schema="s" x="a b c"/>'),
]


@pytest.mark.parametrize(("before", "after"), SMALL)
def test_small_documents(before: str, after: str) -> None:
    assert formatted(before) == after + "\n"
    assert formatted(after) == after + "\n"


@pytest.mark.parametrize("path", [*PUBLIC, *EXAMPLES], ids=lambda path: "-".join(path.parts[-2:]))
def test_public_schemas_and_examples(path: Path) -> None:
    text = path.read_text()
    again = formatted(text)
    assert formatted(again) == again
    if "<prompt" in text:
        assert parse_prompt(again) == parse_prompt(text)
    else:
        folder = path.parent
        assert parse_schema(again, src_root=folder) == parse_schema(text, src_root=folder)


@pytest.mark.parametrize("document", ["<module/>", "<schema name='s'>", "text", ""])
def test_what_is_no_document_is_refused(document: str) -> None:
    with pytest.raises(PMLError):
        formatted(document)


class Documents:
    """Random schemas and prompts in every spelling: comments, CDATA, references, white space."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.names = 0

    def space(self) -> str:
        return self.rng.choice(["", "", "", " ", "\n", "\n\n", "\n   ", " \n\n\n\t ", "\r\n"])

    def comment(self) -> str:
        if self.rng.random() < 0.8:
            return ""
        return self.rng.choice(["<!--c-->", "<!-- <x> & -->", "<!-- two\n   lines -->", "<!---->"])

    def text(self) -> str:
        words = ["a", "To Rome", "x &lt; y", "&amp;", "&#10;", "&#32;", "é", "  b", "]]", "\n"]
        words += ["if:\n     go", "\n\n      c\n   d", " ", "\n  \n"]
        words += ["<![CDATA[ <e>\n f ]]>", "<![CDATA[]]>"]
        drawn = [self.rng.choice(words) for _ in range(self.rng.randrange(4))]
        return "".join(word + self.comment() for word in drawn)

    def between(self) -> str:
        return self.space() + self.comment() + self.rng.choice(["", "", self.text()]) + self.space()

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def tag(self, tag: str, attributes: list[str], inner: str | None) -> str:
        self.rng.shuffle(attributes)
        quoted = [a.replace('"', "'") if self.rng.random() < 0.3 else a for a in attributes]
        head = "".join(self.rng.choice([" ", "\n  "]) + attribute for attribute in quoted)
        if inner is None or (inner == "" and self.rng.random() < 0.5):
            return f"<{tag}{head}{self.rng.choice(['', ' '])}/>"
        return f"<{tag}{head}>{inner}</{tag}>"

    def preserve(self) -> list[str]:
        return self.rng.choice([[]] * 6 + [['space="preserve"'], ['space="default"']])

    def module(self, depth: int, role: bool, named: bool = True) -> str:
        attributes = [f'name="{self.name()}"'] if named else []
        attributes += self.rng.choice([[], [], ['cache="false"']]) + self.preserve()
        return self.tag("module", attributes, self.children(depth + 1, role))

    def children(self, depth: int, role: bool) -> str:
        inner = self.between()
        for _ in range(self.rng.randrange(4) if depth < 4 else 0):
            inner += self.child(depth, role) + self.between()
        return inner

    def child(self, depth: int, role: bool) -> str:
        kind = self.rng.randrange(6 if role else 7)
        if kind < 2:
            return self.module(depth, role, named=kind == 0 or self.rng.random() < 0.5)
        if kind == 2:
            empty = self.rng.choice([None, " ", "\n<!-- p -->"])
            default = self.rng.choice([[], ['default="a &amp; &#10; b"']])
            return self.tag("param", [f'name="{self.name()}"', 'len="3"', *default], empty)
        if kind == 3:
            inner = self.space()
            for _ in range(self.rng.randrange(1, 4)):
                inner += self.module(depth + 1, role) + self.space() + self.comment() + self.space()
            return self.tag("union", self.preserve(), inner)
        if kind == 6:
            role_tag = self.rng.choice(["system", "user", "assistant"])
            return self.tag(role_tag, self.preserve(), self.children(depth + 1, True))
        return self.tag("module", [], self.children(depth + 1, role))

    def schema(self) -> str:
        scaffold = self.rng.choice(
            ["", "", '<scaffold modules="n0"/>', '<scaffold modules="n0"> </scaffold>']
        )
        inner = self.children(0, False) + scaffold + self.children(1, False)
        inner += '<module name="n0"/>' + self.between()
        root = self.tag("schema", ['name="s"', *self.preserve()], inner)
        return self.between_documents() + root + self.between_documents()

    def imported(self, depth: int, role: bool) -> str:
        inner = self.between()
        for _ in range(self.rng.randrange(4) if depth < 4 else 0):
            if self.rng.random() < 0.25 and not role:
                turn = self.imported(depth + 1, True)
                inner += self.tag(self.rng.choice(["system", "user"]), self.preserve(), turn)
            else:
                arguments = [f'{self.name()}="x"' for _ in range(self.rng.randrange(3))]
                tag = self.name()
                if self.rng.random() < 0.3:
                    arguments, tag = ['module="any name"'], "use"
                inside = self.imported(depth + 1, role)
                if self.rng.random() < 0.3:
                    text = self.text()
                    inside += self.tag("arg", [f'name="{self.name()}"', *self.preserve()], text)
                    inside += self.between()
                inner += self.tag(
                    tag, arguments + self.rng.choice([[], ['space="preserve"']]), inside
                )
            inner += self.between()
        return inner

    def prompt(self) -> str:
        root = self.tag(
            "prompt", ['schema="s"', 'days="3"', *self.preserve()], self.imported(0, False)
        )
        return self.between_documents() + root + self.between_documents()

    def between_documents(self) -> str:
        return self.rng.choice(["", "\n", "<!-- beside --> ", "<!-- a -->\n\n\n<!-- b -->\n"])


def comments(text: str) -> list[str]:
    return re.findall(r"<!--.*?-->", text.replace("\r\n", "\n"), re.DOTALL)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(4))
def test_meaning_and_comments_stay_and_a_second_time_changes_nothing(seed: int) -> None:
    documents = Documents(seed)
    changed = 0
    for _ in range(250):
        for text, parse in ((documents.schema(), parse_schema), (documents.prompt(), parse_prompt)):
            before = parse(text)
            once = formatted(text)
            assert parse(once) == before, text
            assert formatted(once) == once, text
            assert comments(once) == comments(text), text
            changed += once != text
    assert changed > 400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.pml").write_text("<schema name='a'/>")
    (tmp_path / "b.pml").write_text('<schema name="b"/>\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fmt(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["fmt", *arguments], input=stdin)


def test_in_place(home: Path) -> None:
    done = fmt("a.pml", "b.pml")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "a.pml: formatted\n")
    assert (home / "a.pml").read_text() == '<schema name="a"/>\n'
    assert fmt("a.pml", "b.pml").stderr == ""


def test_from_stdin_to_stdout() -> None:
    done = fmt("-", stdin="<prompt schema='é'> Hi</prompt>")
    assert (done.exit_code, done.stdout) == (0, '<prompt schema="é">Hi</prompt>\n')


def test_check_and_diff_write_nothing(home: Path) -> None:
    done = fmt("--check", "a.pml", "b.pml")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "a.pml: would change\n")
    done = fmt("--diff", "a.pml", "b.pml")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "--- a.pml", "+++ a.pml (formatted)", "@@ -1 +1 @@",
        "-<schema name='a'/>", "\\ No newline at end of file", '+<schema name="a"/>',
    ]  # fmt: skip
    assert (home / "a.pml").read_text() == "<schema name='a'/>"
    assert fmt("--check", "b.pml").exit_code == 0


def test_a_wrong_document_is_told_and_the_others_are_formatted(home: Path) -> None:
    done = fmt("-", "a.pml", stdin="<schema>\n<a")
    assert done.exit_code == 3 and done.stderr.startswith("<stdin>:2:1: ")
    assert (home / "a.pml").read_text() == '<schema name="a"/>\n'
