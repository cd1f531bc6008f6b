"""Law 10: parse, write, parse is the identity for schemas; so is write, parse for what was built.

Prompts over generated schemas: `tests/laws/test_laws_plan.py`.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pml.errors import PMLError
from pml.markup import Limits
from pml.nodes import (
    Argument,
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Scaffold,
    Schema,
    SchemaNode,
)
from pml.prompt import parse_prompt
from pml.schema import parse_schema
from pml.schema_reader import RESERVED
from pml.writer import write_prompt, write_schema

PUBLIC = Path(__file__).parent / "data" / "reference_schemas"
XML_CHARACTER = st.one_of(
    st.sampled_from(" \n\t\r<>&'\"]-é😀\u00a0\u2028"),
    st.characters(
        codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"
    ),
)
texts = st.text(XML_CHARACTER, min_size=1, max_size=12)
names = st.text(XML_CHARACTER, min_size=1, max_size=4).filter(lambda name: name == name.strip())


@st.composite
def children(draw: st.DrawFn, depth: int, in_role: bool) -> tuple[SchemaNode, ...]:
    """Children of one element: no two texts side by side, no role in a role."""
    kinds = ["text", "text", "parameter"]
    if depth < 3:
        kinds += ["module", "anonymous", "union", *["role"] * (not in_role)]
    found: list[SchemaNode] = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=4)):
        if kind == "text":
            if not (found and isinstance(found[-1], PromptText)):
                found.append(PromptText(draw(texts)))
        elif kind == "parameter":
            optional = st.none() | st.text(XML_CHARACTER, max_size=4)
            length = draw(st.integers(1, 1_000_000))
            found.append(PromptParameter(draw(names), length, draw(optional), draw(optional)))
        elif kind == "role":
            role = draw(st.sampled_from(["system", "user", "assistant"]))
            found.append(PromptRole(role, draw(children(depth + 1, True))))
        elif kind == "union":
            members = draw(st.lists(modules(depth + 1, in_role), min_size=1, max_size=3))
            scaffold = draw(st.none() | st.sampled_from([str(m.name) for m in members]))
            found.append(PromptUnion(tuple(members), scaffold, draw(st.booleans())))
        else:
            module = draw(modules(depth + 1, in_role))
            name = None if kind == "anonymous" else module.name
            found.append(PromptModule(name, module.cache, module.children))
    return tuple(found)


@st.composite
def modules(draw: st.DrawFn, depth: int, in_role: bool) -> PromptModule:
    # Hypothesis also draws words that it finds in the code, `arg` and `use` among them.
    name = draw(names.filter(lambda name: name not in RESERVED))
    return PromptModule(name, draw(st.booleans()), draw(children(depth, in_role)))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    layout = draw(st.sampled_from([None, "fixed", "packed"]))
    attention = draw(st.sampled_from([None, "isolated", "joint"]))
    scaffolds = draw(st.lists(st.just(Scaffold(("m",))), max_size=2))
    nodes = draw(children(0, False))
    if scaffolds:
        nodes = (*nodes, PromptModule("m"))
    return Schema(draw(names), layout, attention, nodes, tuple(scaffolds))


@given(schemas())
@settings(max_examples=200, deadline=None)
def test_what_was_built_is_read_back(schema: Schema) -> None:
    try:
        text = write_schema(schema)
    except PMLError as error:
        assert "a second" in str(error)  # names that the strategy drew twice for one owner
    else:
        assert parse_schema(text) == schema
        assert write_schema(parse_schema(text)) == text


PIECES = [
    *" \n\tab",
    *["\n    ", "<!-- c -->", "<![CDATA[ <x> \n]]>", "&#13;", "&lt;", "<scaffold modules='k'/>"],
    *["<param name='p' len='2'/>", "<module> a </module>", "<module name='m'>\n  b\n</module>"],
    *["<user space='preserve'>\n a </user>", "<union>\n <module name='u'/> </union>"],
    "<module space='preserve'>\n<union><module name='v'/></union> <user space='default'> c "
    "<module/> </user></module>",
]
DOCUMENTS = st.lists(st.sampled_from(PIECES), max_size=10)


@given(DOCUMENTS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_was_parsed_is_read_back(pieces: list[str], preserve: bool) -> None:
    space = " space='preserve'" if preserve else ""
    document = f"<schema name='s'{space}>{''.join(pieces)}<module name='k'/></schema>"
    try:
        schema = parse_schema(document)
    except PMLError as error:
        assert "a second" in str(error)
    else:
        assert parse_schema(write_schema(schema)) == schema


@pytest.mark.parametrize("path", sorted(PUBLIC.glob("p*.xml")), ids=lambda path: path.stem)
def test_public_schemas_are_read_back(path: Path) -> None:
    schema = parse_schema(path.read_bytes())
    assert parse_schema(write_schema(schema)) == schema


def test_it_looks_like_this() -> None:
    schema = parse_schema("""<schema name="s" layout="fixed">
        <scaffold modules="m"/><module name="m"/>
        <user>Hi <param name='a"b' len="2" default="&#10;&lt;&amp;"/>!
        <union required="true"><module name="x">  if:\n    go ]]&gt;</module></union></user>
        <module cache="false" space="preserve">a <union><module name="y"><module/></module>
        </union>
        </module></schema>""")
    assert write_schema(schema) == (
        '<schema name="s" layout="fixed">\n'
        '  <scaffold modules="m"/>\n'
        '  <module name="m"/>\n'
        '  <user>Hi <param name="a&quot;b" len="2" default="&#10;&lt;&amp;"/>!\n'
        '<union required="true">\n'
        '      <module name="x">if:\ngo ]]&gt;</module>\n'
        "    </union>\n"
        "  </user>\n"
        '  <module cache="false" space="preserve">a <union>\n'
        '      <module name="y"><module/></module>\n'
        "    </union>\n"
        "        </module>\n"
        "</schema>\n"
    )


@pytest.mark.parametrize(
    ("children", "reason"),
    [
        ((PromptText("a"), PromptText("b")), "schema 's' cannot be written: as PML it would mean"),
        ((PromptText(""),), "schema 's' cannot be written: as PML it would mean"),
        ((PromptText("\x1b"),), "U+001B, which XML does not allow"),
        ((PromptText("\ud800"),), "U+D800 is half a character"),
        ((PromptUnion(()),), "a union without modules"),
        ((PromptModule("user"),), "a module cannot be called 'user'"),
    ],
)
def test_what_no_pml_can_say(children: tuple[SchemaNode, ...], reason: str) -> None:
    with pytest.raises(PMLError) as caught:
        write_schema(Schema("s", children=children))
    assert reason in str(caught.value)


def test_it_writes_what_only_larger_limits_let_in() -> None:
    module = PromptModule()
    for _ in range(70):
        module = PromptModule(children=(module,))
    text = write_schema(Schema("s", children=(module,)))
    assert parse_schema(text, limits=Limits(depth=200)).children == (module,)


ARGUMENTS = st.dictionaries(names, st.text(XML_CHARACTER, max_size=6).map(Argument), max_size=3)


@st.composite
def prompt_children(draw: st.DrawFn, depth: int, in_role: bool) -> tuple[PromptNode, ...]:
    found: list[PromptNode] = []
    kinds = ["text", "import"] + ["role"] * (not in_role) if depth < 3 else ["text"]
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=4)):
        if kind == "text":
            if not (found and isinstance(found[-1], PromptText)):
                found.append(PromptText(draw(texts)))
        elif kind == "role":
            role = draw(st.sampled_from(["system", "user", "assistant"]))
            found.append(PromptRole(role, draw(prompt_children(depth + 1, True))))
        else:
            name = draw(
                names | st.sampled_from(["m", "a-b", "module", "use", "arg", "user", "x.y"])
            )
            inner = draw(prompt_children(depth + 1, in_role))
            found.append(PromptImport(name, draw(ARGUMENTS), inner))
    return tuple(found)


@given(st.builds(Prompt, names, ARGUMENTS, prompt_children(0, False)))
@settings(max_examples=100, deadline=None)
def test_a_prompt_that_was_built_is_read_back(prompt: Prompt) -> None:
    text = write_prompt(prompt)
    assert parse_prompt(text) == prompt
    assert write_prompt(parse_prompt(text)) == text


def test_a_prompt_looks_like_this() -> None:
    prompt = parse_prompt("""<prompt schema="s" a="1"><arg name="schema">x</arg>
        <m x="two words"><arg name="a b"> y </arg><n/></m><use module="my m"/><m space="odd"/>
        <user>Go: <n/>!</user></prompt>""")
    assert write_prompt(prompt) == (
        '<prompt schema="s" a="1">\n'
        '  <arg name="schema">x</arg>\n'
        '  <m x="two words">\n'
        '    <arg name="a b">y</arg>\n'
        "    <n/>\n"
        "  </m>\n"
        '  <use module="my m"/>\n'
        '  <m space="odd"/>\n'
        "  <user>Go: <n/>!</user>\n"
        "</prompt>\n"
    )
    kept = Prompt("s", {"a": Argument("1\n2 ")}, (PromptImport("m", {}, (PromptText(" x"),)),))
    assert write_prompt(kept) == (
        '<prompt schema="s" space="preserve"><arg name="a">1\n2 </arg><m> x</m></prompt>\n'
    )


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Prompt("s", {}, (PromptText("a"), PromptText("b"))), "cannot be written: as PML it would"),
        (Prompt("s", {}, (PromptText(""),)), "cannot be written: as PML it would mean another"),
        (Prompt("s", {}, (PromptText("\x1b"),)), "U+001B, which XML does not allow"),
        (Prompt("", {}, ()), "schema='' is empty"),
        (Prompt("s", {}, (PromptRole("user", (PromptRole("user"),)),)), "a role holds no role"),
    ],
)
def test_what_no_prompt_can_say(prompt: Prompt, reason: str) -> None:
    with pytest.raises(PMLError) as caught:
        write_prompt(prompt)
    assert reason in str(caught.value)


def test_a_hundred_arguments_are_written() -> None:
    prompt = Prompt("s", {f"a{n}": Argument(str(n)) for n in range(100)})
    assert parse_prompt(write_prompt(prompt)) == prompt
