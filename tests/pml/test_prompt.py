"""What a prompt asks for."""

import pytest

from pml.errors import Location, PMLError
from pml.markup import Limits
from pml.prompt import (
    Argument,
    Prompt,
    PromptImport,
    PromptNode,
    PromptRole,
    PromptText,
    parse_prompt,
)
from pml.writer import write_prompt


def children(document: str) -> tuple[PromptNode, ...]:
    return parse_prompt(f"<prompt schema='s'>{document}</prompt>").children


def test_a_tag_is_an_import_and_its_attributes_are_arguments() -> None:
    prompt = parse_prompt("""<prompt schema="trip" days="3 ">
  <plan city="Rome &amp; Oslo" style="">
    <overseas/>
  </plan>
  Go!
</prompt>""")
    assert prompt == Prompt(
        "trip",
        {"days": Argument("3 ")},
        (
            PromptImport(
                "plan",
                {"city": Argument("Rome & Oslo"), "style": Argument("")},
                (PromptImport("overseas"),),
            ),
            PromptText("\nGo!"),
        ),
    )


def test_the_longer_form_of_both() -> None:
    assert children("""
        <use module="book.py &amp; more" module2="x">
          <arg name="any name"> a
            b </arg>
          text
        </use>""") == (
        PromptImport(
            "book.py & more",
            {"module2": Argument("x"), "any name": Argument("a\nb")},
            (PromptText("text"),),
        ),
    )
    for own in ("schema", "version", "space"):
        root = parse_prompt(f"<prompt schema='s' version='1'><arg name='{own}'>x</arg></prompt>")
        assert root == Prompt("s", {own: Argument("x")})
        assert parse_prompt(write_prompt(root)) == root


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("", ()),
        ("text", (PromptText("text"),)),
        ("\n  a\n    b\n", (PromptText("a\n  b"),)),
        ("<a/> <b/>", (PromptImport("a"), PromptText(" "), PromptImport("b"))),
        ("<a/>\n<b/>", (PromptImport("a"), PromptImport("b"))),
        ("<a>\n x\n</a>", (PromptImport("a", children=(PromptText("x"),)),)),
        ("<user>\n x\n</user>\n", (PromptRole("user", (PromptText("x"),)),)),
        (
            "<user>a <m/> b</user><assistant/>",
            (
                PromptRole("user", (PromptText("a "), PromptImport("m"), PromptText(" b"))),
                PromptRole("assistant"),
            ),
        ),
        ("<a><b><user>x</user></b></a>", (
            PromptImport("a", children=(
                PromptImport("b", children=(PromptRole("user", (PromptText("x"),)),)),
            )),
        )),
        ("x<arg name='a'>1</arg>\n  y", (PromptText("x\ny"),)),
        ("<user space='preserve'> x </user>", (PromptRole("user", (PromptText(" x "),)),)),
        ("<module/><schema/>", (PromptImport("module"), PromptImport("schema"))),
    ],
)  # fmt: skip
def test_text_roles_and_white_space(document: str, expected: tuple[PromptNode, ...]) -> None:
    assert children(document) == expected


def test_preserved_white_space_is_inherited_by_imports_and_arguments() -> None:
    prompt = parse_prompt(
        "<prompt schema='s' space='preserve'> <a space='x'> y<arg name='n'> z </arg></a>"
        "<user space='default'> w <arg2/></user></prompt>"
    )
    assert prompt.children == (
        PromptText(" "),
        PromptImport("a", {"space": Argument("x"), "n": Argument(" z ")}, (PromptText(" y"),)),
        PromptRole("user", (PromptText("w "), PromptImport("arg2"))),
    )
    (module,) = children("<a><arg name='n' space='preserve'> z </arg></a>")
    assert isinstance(module, PromptImport) and module.arguments == {"n": Argument(" z ")}


def test_places() -> None:
    prompt = parse_prompt("<prompt schema='s'\n  n='1'>\n<a\n b='2'>\n\n text</a></prompt>", "f")
    (module,) = prompt.children
    assert isinstance(module, PromptImport)
    places = [prompt.at, prompt.arguments["n"].at, module.at, module.arguments["b"].at]
    places.append(module.children[0].at)
    expected = [(1, 1), (2, 3), (3, 1), (4, 2), (6, 2)]
    assert places == [Location("f", line, column) for line, column in expected]


def test_prompts_are_hashable_and_equal_wherever_they_stand() -> None:
    one, other = (
        parse_prompt("<prompt schema='s' a='1'/>"),
        parse_prompt(" <prompt a='1' schema='s'/>"),
    )
    assert one == other and hash(one) == hash(other)
    assert one != parse_prompt("<prompt schema='s' a='2'/>")


def test_limits_are_options() -> None:
    with pytest.raises(PMLError, match="larger than the limit of 9 bytes"):
        parse_prompt("<prompt schema='s'/>", limits=Limits(document_bytes=9))
