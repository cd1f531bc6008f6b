"""The description of the language is what the parser says: asked about everything in it, and
about everything that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from pml import rule_table
from pml.cli import app
from pml.description import IMPORT, PROMPT, SCHEMA, Tag, as_json
from pml.diagnostics import diagnose_prompt, diagnose_schema
from pml.nodes import ContextName, LayoutName
from pml.schema_reader import RESERVED

TAGS = [("schema", name) for name in SCHEMA] + [("prompt", name) for name in (*PROMPT, "city")]
CHILDREN = [*dict.fromkeys([*SCHEMA, *PROMPT, "zebra"])]
ATTRIBUTES = [
    *dict.fromkeys(name for tag in (*SCHEMA.values(), *PROMPT.values()) for name in tag.attributes),
    "zebra",
]
EXAMPLES = {"name": "some", "text": "some text", "tokens": "8", "path": "f.txt", "names": "here"}
each_tag = pytest.mark.parametrize(("kind", "name"), TAGS)


def known(kind: str, name: str) -> Tag:
    return SCHEMA[name] if kind == "schema" else PROMPT.get(name, IMPORT)


def opening(kind: str, name: str, given: dict[str, str], without: str | None = None) -> str:
    """The tag with what it cannot do without, and what is given."""
    needed = {
        attribute: EXAMPLES[one.kind]
        for attribute, one in known(kind, name).attributes.items()
        if one.required
    }
    if name in ("param", "parameter") and not {"len", "length"} & given.keys():
        needed["len"] = "8"
    pairs = [f'{a}="{value}"' for a, value in (needed | given).items() if a != without]
    return " ".join([f"<{name}", *pairs])


def codes(
    kind: str,
    name: str,
    content: str = "",
    given: dict[str, str] | None = None,
    without: str | None = None,
) -> set[str]:
    """What is wrong with a document in which all is right but, perhaps, this element."""
    members = {"union": '<module name="some"/>', "schema": '<module name="here"/>'}.get(name, "")
    document = f"{opening(kind, name, given or {}, without)}>{members}{content}</{name}>"
    if kind == "schema":
        if name != "schema":
            document = f'<schema name="s"><module name="here"/>{document}</schema>'
        checked = diagnose_schema(document).diagnostics
        return {found.code for found in checked}
    if name != "prompt":
        document = f'<prompt schema="s">{document}</prompt>'
    return {found.code for found in diagnose_prompt(document).diagnostics}


@each_tag
def test_a_tag_with_what_it_needs_is_right_and_without_it_is_not(kind: str, name: str) -> None:
    assert codes(kind, name) == set()
    for attribute, described in known(kind, name).attributes.items():
        if described.required:
            assert codes(kind, name, without=attribute) == {"missing-attribute"}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@each_tag
def test_the_parser_takes_the_attributes_described_and_no_others(
    kind: str, name: str, attribute: str
) -> None:
    tag = known(kind, name)
    described = tag.attributes.get(attribute)
    if described is None:
        expected = set() if tag.arguments else {"unknown-attribute"}
        assert codes(kind, name, given={attribute: "some"}) == expected
    elif attribute == "src":  # known, and refused where reading files is off
        assert codes(kind, name, given={"src": "f.txt"}) == {"include"}
    elif described.values:
        assert all(codes(kind, name, given={attribute: one}) == set() for one in described.values)
        assert codes(kind, name, given={attribute: "zebra"}) == {"wrong-value"}
    else:
        assert codes(kind, name, given={attribute: EXAMPLES[described.kind]}) == set()


@pytest.mark.parametrize("child", CHILDREN)
@each_tag
def test_the_parser_takes_the_content_described_and_no_other(
    kind: str, name: str, child: str
) -> None:
    tag, described = known(kind, name), SCHEMA if kind == "schema" else PROMPT
    if child not in described:
        element, allowed = f"<{child}/>", tag.imports
    else:
        given = {"name": "else"} if "name" in known(kind, child).attributes else {}
        members = '<module name="other"/>' if child == "union" and kind == "schema" else ""
        element = f"{opening(kind, child, given)}>{members}</{child}>"
        allowed = child in tag.children
    assert (codes(kind, name, element) == set()) == allowed


@each_tag
def test_text_stands_where_it_is_described(kind: str, name: str) -> None:
    assert (codes(kind, name, "Hello.") == set()) == known(kind, name).text


def test_the_values_are_all_that_the_parser_takes() -> None:
    values = {name: one.values.keys() for name, one in SCHEMA["schema"].attributes.items()}
    assert values["layout"] == set(get_args(LayoutName))
    assert values["attention"] == set(get_args(ContextName))


def test_the_json_is_what_the_command_prints() -> None:
    done = CliRunner().invoke(app, ["language", "--json"])
    content = json.loads(done.stdout)
    assert content == {"version": 1, **json.loads(json.dumps(as_json()))}
    assert content["rules"].keys() == rule_table.RULES.keys()
    assert content["reserved_names"] == [*RESERVED]
    assert content["schema"]["union"]["children"] == ["module"]


def test_the_listing_for_people_names_every_tag() -> None:
    done = CliRunner().invoke(app, ["language"])
    assert done.exit_code == 0
    assert all(f"<{name}" in done.stdout for name in (*SCHEMA, *PROMPT))


def test_the_page_about_the_language_knows_every_tag_and_attribute() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "language.md").read_text()
    for name, tag in SCHEMA.items():
        assert f"<{name}" in page
        assert all(attribute in page for attribute in tag.attributes)
