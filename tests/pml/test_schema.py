"""What a schema declares, and how it is looked up."""

from pathlib import Path

import pytest

from pml.errors import PMLError, PMLSyntaxError
from pml.markup import Limits
from pml.nodes import places_of, roles_of
from pml.schema import (
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Scaffold,
    Schema,
    children_of,
    own_nodes,
    parameters_of,
    parse_schema,
    scaffold_paths,
    unions_of,
)

PUBLIC = Path(__file__).parent / "data" / "reference_schemas"


def test_every_element_and_attribute() -> None:
    schema = parse_schema(
        """
        <schema name="trip" layout="packed" attention="guaranteed">
          <scaffold modules="plan rome"/>
          <system>Plan trips.</system>
          <module name="plan" cache="false">For <param name="days" len="3"/> days.</module>
          <union scaffold="rome" required="true">
            <module name="rome">A<parameter name="p" length="2" default="" scaffold="x"/></module>
            <module name="oslo"/>
          </union>
          <module cache="false">Thanks.</module>
        </schema>""".strip()
    )
    assert schema == Schema(
        name="trip",
        layout="packed",
        attention="guaranteed",
        children=(
            PromptRole("system", (PromptText("Plan trips."),)),
            PromptModule(
                "plan",
                False,
                (PromptText("For "), PromptParameter("days", 3), PromptText(" days.")),
            ),
            PromptUnion(
                (
                    PromptModule("rome", True, (PromptText("A"), PromptParameter("p", 2, "", "x"))),
                    PromptModule("oslo"),
                ),
                scaffold="rome",
                required=True,
            ),
            PromptModule(None, False, (PromptText("Thanks."),)),
        ),
        scaffolds=(Scaffold(("plan", "rome")),),
    )


def test_equal_wherever_it_stands() -> None:
    one = "<schema name='s'><user>a</user></schema>"
    other = "<schema name='s'>\n  <user>a</user>\n</schema>"
    assert parse_schema(one, "one") == parse_schema(other, "other")
    assert hash(parse_schema(one)) == hash(parse_schema(other))
    assert parse_schema(one).at != parse_schema(other, "other").at


def test_the_smallest_schemas() -> None:
    assert parse_schema("<schema name='s'/>") == Schema("s")
    assert parse_schema(b"<schema name='s'> a </schema>").children == (PromptText("a"),)


LOOKUP = parse_schema(
    """
    <schema name="s"><param name="root" len="1"/>
      <module name="a"><param name="x" len="1"/>
        <module name="a"><param name="x" len="2"/></module>
        <union><module name="b"><param name="z" len="4"/></module></union>
        <module><assistant><param name="y" len="3"/><module name="c"/></assistant></module>
      </module>
      <user><module name="f"/></user>
      <union><module name="d"/></union>
      <module><module name="e"/></module>
    </schema>""".strip()
)


def test_children_are_looked_up_through_roles_unions_and_anonymous_modules() -> None:
    assert list(children_of(LOOKUP)) == ["a", "f", "d", "e"]
    assert list(children_of(children_of(LOOKUP)["a"])) == ["a", "b", "c"]
    assert LOOKUP.find(("a", "b")) is children_of(LOOKUP.find(("a",)))["b"]
    for path in [(), ("b",), ("a", "d"), ("a", "a", "a")]:
        with pytest.raises(KeyError):
            LOOKUP.find(path)


def test_parameters_belong_to_the_nearest_named_module() -> None:
    def lengths(*path: str) -> dict[str, int]:
        owner = LOOKUP.find(path) if path else LOOKUP
        return {name: found.length for name, found in parameters_of(owner).items()}

    assert lengths() == {"root": 1}
    assert lengths("a") == {"x": 1, "y": 3}
    assert lengths("a", "a") == {"x": 2}
    assert lengths("a", "b") == {"z": 4}


def test_places() -> None:
    a = LOOKUP.find(("a",))
    places = {
        name: (p.union is not None, p.role and p.role.role) for name, p in places_of(a).items()
    }
    assert places == {"a": (False, None), "b": (True, None), "c": (False, "assistant")}
    assert unions_of(a) == tuple(node for node in own_nodes(a) if isinstance(node, PromptUnion))
    (user,), (assistant,) = roles_of(LOOKUP), roles_of(a)
    assert user and assistant and (user.role, assistant.role) == ("user", "assistant")
    assert roles_of(LOOKUP.find(("d",))) == ()


def test_what_holds_nothing_may_hold_white_space_and_comments() -> None:
    schema = parse_schema("<schema name='s'><param name='p' len='1'> <!-- x --> </param></schema>")
    assert schema.children == (PromptParameter("p", 1),)


def test_names_may_be_used_again_elsewhere() -> None:
    parse_schema("<schema name='s'><module name='a'><module name='a'/></module></schema>")
    parse_schema("<schema name='a'><module name='a'><param name='a' len='1'/></module></schema>")
    parse_schema("<schema name='s'><module name='schema'/><module name='module'/></schema>")


def test_scaffolds_name_modules_by_path() -> None:
    schema = parse_schema(
        """
        <schema name="s">
          <module name="a"><module name="b/c"/><union><module name="d"/></union></module>
          <module name="a/d"/> <module name="e/"/>
          <scaffold modules="a a/b/c"/> <scaffold modules=" a/d&#10;e/ "/>
        </schema>""".strip()
    )
    assert [scaffold_paths(schema, scaffold) for scaffold in schema.scaffolds] == [
        (("a",), ("a", "b/c")),
        (("a/d",), ("e/",)),
    ]


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("code_generation_bookstore", 5),
        ("parameterized_prompts", 1),
        ("persona_generation", 6),
        ("personalization-education", 30),
    ],
)
def test_public_schemas_are_accepted_unchanged(name: str, modules: int) -> None:
    schema = parse_schema((PUBLIC / f"{name}.xml").read_bytes(), name)
    assert len(children_of(schema)) == modules
    assert [child.role for child in schema.children if isinstance(child, PromptRole)] == [
        "system", "user", "assistant",
    ]  # fmt: skip


def test_the_fifth_public_schema_is_refused_at_its_bare_less_than() -> None:
    name = "code_generation_game.xml"
    with pytest.raises(PMLSyntaxError) as caught:
        parse_schema((PUBLIC / name).read_bytes(), name)
    assert str(caught.value) == (
        "code_generation_game.xml:167:19: bare '<' in text; write &lt;, "
        "or put the text into a CDATA section: <![CDATA[…]]>"
    )


def test_limits_are_options() -> None:
    deep = "<schema name='s'>" + "<module>" * 70 + "</module>" * 70 + "</schema>"
    with pytest.raises(PMLError, match="nested deeper than the limit of 64"):
        parse_schema(deep)
    parse_schema(deep, limits=Limits(depth=100))
