"""Law 10: parse, write, parse is the identity for schemas; so is write, parse for what was built.

Prompts over generated schemas: `tests/laws/test_laws_plan.py`.
"""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from pml.errors import PMLError
from pml.markup import Limits
from pml.nodes import (
    ROLES,
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
SIGNS = [*" \n\t\r<>&'\"]-", *"é😀\u00a0\u2028", *"abcß漢\u0301\u202e\ue000\U0010ffff"]


class Generator:
    """Trees that PML can say: no two texts side by side, no role in a role, no name twice."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names: set[str] = set()

    def text(self, least: int, most: int) -> str:
        return "".join(self.random.choices(SIGNS, k=self.random.randint(least, most)))

    def name(self) -> str:
        """A new one each time, now and then a word of the language."""
        while True:
            drawn = self.text(1, 4) if self.random.random() < 0.8 else self.random.choice(WORDS)
            name = drawn.strip()
            if name and name not in self.names and name not in RESERVED:
                self.names.add(name)
                return name

    def optional(self) -> str | None:
        return self.random.choice([None, self.text(0, 4)])

    def schema(self) -> Schema:
        scaffolds = (Scaffold(("m",)),) * self.random.choice([0, 0, 1, 2])
        self.names.add("m")
        return Schema(
            self.name(),
            self.random.choice([None, "fixed", "packed"]),
            self.random.choice([None, "isolated", "joint"]),
            (*self.children(0, False), *[PromptModule("m")] * bool(scaffolds)),
            scaffolds,
        )

    def children(self, depth: int, in_role: bool) -> tuple[SchemaNode, ...]:
        kinds = ["text", "text", "parameter"]
        if depth < 3:
            kinds += ["module", "anonymous", "union", *["role"] * (not in_role)]
        nodes = (self.node(kind, depth, in_role) for kind in self.kinds(kinds))
        return tuple(nodes)

    def kinds(self, kinds: list[str]) -> list[str]:
        drawn = self.random.choices(kinds, k=self.random.randint(0, 3))
        return [
            kind
            for kind, before in zip(drawn, ["", *drawn], strict=False)
            if not kind == before == "text"
        ]

    def node(self, kind: str, depth: int, in_role: bool) -> SchemaNode:
        match kind:
            case "text":
                return PromptText(self.text(1, 12))
            case "parameter":
                length = self.random.randint(1, 1_000_000)
                return PromptParameter(self.name(), length, self.optional(), self.optional())
            case "role":
                return PromptRole(self.random.choice(ROLES), self.children(depth + 1, True))
            case "union":
                count = self.random.randint(1, 3)
                members = tuple(self.module(depth + 1, in_role) for _ in range(count))
                scaffold = self.random.choice([None, *(one.name for one in members)])
                return PromptUnion(members, scaffold, self.random.random() < 0.5)
            case "anonymous":
                return replace(self.module(depth + 1, in_role), name=None)
            case _:
                return self.module(depth + 1, in_role)

    def module(self, depth: int, in_role: bool) -> PromptModule:
        cache = self.random.random() < 0.5
        return PromptModule(self.name(), cache, self.children(depth, in_role))

    def prompt(self) -> Prompt:
        return Prompt(self.name(), self.arguments(), self.asked(0, False))

    def arguments(self) -> dict[str, Argument]:
        return {self.name(): Argument(self.text(0, 6)) for _ in range(self.random.randint(0, 3))}

    def asked(self, depth: int, in_role: bool) -> tuple[PromptNode, ...]:
        kinds = ["text", "import", *["role"] * (not in_role)] if depth < 3 else ["text"]
        found: list[PromptNode] = []
        for kind in self.kinds(kinds):
            if kind == "text":
                found.append(PromptText(self.text(1, 12)))
            elif kind == "role":
                found.append(PromptRole(self.random.choice(ROLES), self.asked(depth + 1, True)))
            else:
                name = self.random.choice([self.name(), *WORDS])
                inner = self.asked(depth + 1, in_role)
                found.append(PromptImport(name, self.arguments(), inner))
        return tuple(found)


WORDS = ["m", "a-b", "module", "use", "arg", "user", "x.y", "schema", "len", "src"]


def test_what_was_built_is_read_back() -> None:
    for seed in range(2_000):
        schema = Generator(seed).schema()
        text = write_schema(schema)
        read = parse_schema(text)
        assert read == schema, seed
        assert write_schema(read) == text, seed


def test_a_prompt_that_was_built_is_read_back() -> None:
    for seed in range(500):
        prompt = Generator(seed).prompt()
        text = write_prompt(prompt)
        read = parse_prompt(text)
        assert read == prompt, seed
        assert write_prompt(read) == text, seed


PIECES = [
    *" \n\tab",
    *["\n    ", "<!-- c -->", "<![CDATA[ <x> \n]]>", "&#13;", "&lt;", "<scaffold modules='k'/>"],
    *["<param name='p' len='2'/>", "<module> a </module>", "<module name='m'>\n  b\n</module>"],
    *["<user space='preserve'>\n a </user>", "<union>\n <module name='u'/> </union>"],
    "<module space='preserve'>\n<union><module name='v'/></union> <user space='default'> c "
    "<module/> </user></module>",
]


def test_what_was_parsed_is_read_back() -> None:
    refused, source = 0, random.Random(10)
    for number in range(2_000):
        space = source.choice(["", " space='preserve'"])
        pieces = "".join(source.choices(PIECES, k=source.randint(0, 8)))
        document = f"<schema name='s'{space}>{pieces}<module name='k'/></schema>"
        try:
            schema = parse_schema(document)
        except PMLError as error:
            assert "a second" in str(error), number
            refused += 1
        else:
            assert parse_schema(write_schema(schema)) == schema, number
    assert refused < 1_000


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
