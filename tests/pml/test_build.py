"""Schemas and prompts built in Python are those of documents, errors and all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pml
from pml.build import assistant, module, param, prompt, scaffold, schema, system, union, use, user
from pml.errors import PMLError
from pml.prompt import parse_prompt
from pml.schema import parse_schema
from pml.writer import write_prompt, write_schema

TRAVEL = schema(
    "travel",
    scaffold("trip", "notes"),
    system(
        "You plan ",
        "journeys. ",
        module("trip", param("days", 6, "two"), union(module("city", "Rome"), required=True)),
    ),
    "",
    module(None, module("notes", cache=False)),
    union(module("a", "A"), module("b"), scaffold="b"),
    layout="packed",
    attention="guaranteed",
)


def test_what_was_built_is_what_the_document_says() -> None:
    assert (
        parse_schema(
            """
      <schema name="travel" layout="packed" attention="guaranteed">
        <scaffold modules="trip notes"/>
        <system>You plan journeys. <module name="trip"><param name="days" len="6" default="two"/>
          <union required="true"><module name="city">Rome</module></union></module>
        </system>
        <module><module name="notes" cache="false"/></module>
        <union scaffold="b"><module name="a">A</module><module name="b"/></union>
      </schema>""".strip()
        )
        == TRAVEL
    )
    assert parse_schema(write_schema(TRAVEL)) == TRAVEL


def test_a_prompt_is_what_the_document_says() -> None:
    built = prompt(
        TRAVEL,
        use("trip", use("city"), days="a week"),
        user("Hello."),
        assistant("Hello!"),
        use("notes"),
        "And ",
        "then?",
    )
    assert built == parse_prompt(
        """
      <prompt schema="travel"><trip days="a week"><city/></trip><user>Hello.</user>
        <assistant>Hello!</assistant><notes/>And then?</prompt>""".strip()
    )
    assert parse_prompt(write_prompt(built)) == built
    assert prompt("other", x="1") == parse_prompt("<prompt schema='other' x='1'/>")
    repeated = prompt(TRAVEL, use("notes"), use("notes"), user("Packed prompts may repeat."))
    assert len(repeated.children) == 3


@pytest.mark.parametrize(
    ("make", "place", "message"),
    [
        (lambda: schema("s", module("a"), module("a")), "module", "a second module 'a'; the first"),
        (lambda: schema("s", param("p", 1), param("p", 2)), "param", "a second parameter 'p'; the"),
        (lambda: schema("s", user(module("m", user()))), "user", "<user> inside <user> of line"),
        (lambda: schema("s", union()), "union", "a union without modules; expected its"),
        (lambda: schema("s", union(module(None))), "module", "a module without a name in a union"),
        (lambda: schema("s", module("user")), "module", "a module cannot be called 'user': <user>"),
        (lambda: schema("s", module("")), "module", "name='' is empty; write name="),
        (lambda: schema("s", param("p", 0)), "param", "len='0'; expected a number of tokens, 1 or"),
        (
            lambda: schema("s", scaffold("x")),
            "scaffold",
            "the scaffold names 'x'; expected modules",
        ),
        (lambda: schema("s", scaffold()), "scaffold", "<scaffold> names no modules; write"),
        (lambda: schema(""), "schema", "name='' is empty"),
        (
            lambda: schema("s", union(module("a"), scaffold="b")),
            "union",
            "scaffold='b'; expected a member, 'a'",
        ),
        (lambda: prompt(TRAVEL, use("trips")), "use", "the schema's root holds no module 'trips'"),
        (lambda: prompt(TRAVEL, use("trip")), "use", "module 'trip' requires a member of its"),
        (lambda: prompt(TRAVEL, x="1"), "prompt", "the schema has no parameter 'x'"),
    ],
)
def test_an_error_is_the_documents_at_the_place_in_the_code(
    make: Callable[[], object], place: str, message: str
) -> None:
    with pytest.raises(PMLError) as caught:
        make()
    assert caught.value.message.startswith(message)
    at = caught.value.at
    assert at is not None
    assert at.file == __file__
    line = Path(__file__).read_text().split("\n")[at.line - 1]
    assert line[at.column - 1 :].startswith(f"{place}("), line


def test_pml_gives_what_it_exports() -> None:
    assert pml.parse_schema is parse_schema
    with pytest.raises(AttributeError, match="no attribute 'parse_schemas'"):
        _ = pml.parse_schemas
