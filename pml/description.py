"""The language as data, for editors: its tags, their attributes, values and content, its rules.

`pml language --json` prints `as_json()`. A test asks the parser about every tag, attribute, value
and child that stands here, and about every one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pml.nodes import ROLES, ContextName, LayoutName
from pml.rule_table import ERRORS, WARNINGS
from pml.schema_reader import RESERVED


@dataclass(frozen=True, slots=True)
class Attribute:
    """`values` holds all that it may be, each with its meaning; empty: any of `kind`."""

    doc: str
    kind: str
    values: Mapping[str, str]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag and what may stand in it.

    `arguments`: other attributes are arguments of parameters. `imports`: modules of the schema
    stand in it, as tags of their names. What a role tag may not hold at any depth is other roles.
    """

    doc: str
    attributes: Mapping[str, Attribute]
    children: tuple[str, ...]
    text: bool
    arguments: bool = False
    imports: bool = False


def _one_of(doc: str, **values: str) -> Attribute:
    return Attribute(doc, "word", values)


def _of(kind: str, doc: str, required: bool = False) -> Attribute:
    return Attribute(doc, kind, {}, required)


_LAYOUTS: dict[LayoutName, str] = {
    "fixed": "everything has its place; what a prompt leaves out stays a gap",
    "packed": "what a prompt takes stands one after another, in the prompt's own order",
}
_ATTENTIONS: dict[ContextName, str] = {
    "guaranteed": "modules see what every prompt that imports them holds before them (the default)",
    "isolated": "modules see their own earlier text only (the paper)",
    "joint": "modules see everything before them in the schema; for comparison only",
    "learned": "as guaranteed, and whatever earlier prompts began with in the same way",
}
_SPACE = _one_of(
    "What becomes of white space.",
    preserve="every character is kept, as source code needs it",
    default="margins and line breaks between tags are the document's own layout",
)
_VERSION = _one_of("The language's version; 1 without it.", **{"1": "the only one so far"})
_ROLE_DOCS = {
    "system": "The system's turn: the model's chat markers around what stands inside.",
    "user": "The user's turn. A prompt that ends in one gets the assistant's opening marker.",
    "assistant": "The assistant's turn: the model's chat markers around what stands inside.",
}
_PARTS = ("module", "union", "param", "parameter", *ROLES)
_PARAMETER = Tag(
    "A slot of `len` tokens that a prompt fills with an argument.",
    {
        "name": _of("name", "The argument's name, unique in its module.", required=True),
        "len": _of("tokens", "How many tokens an argument may have; or write `length`."),
        "length": _of("tokens", "The same as `len`; one of them is needed."),
        "default": _of("text", "Stands there when a prompt gives no argument."),
        "scaffold": _of("text", "Words that stand there while a scaffold is encoded."),
    },
    children=(),
    text=False,
)


def _role(role: str, *children: str, imports: bool = False) -> Tag:
    return Tag(_ROLE_DOCS[role], {"space": _SPACE}, children, text=True, imports=imports)


SCHEMA: Mapping[str, Tag] = {
    "schema": Tag(
        "Declares the parts that prompts share. Text directly in it is part of every prompt.",
        {
            "name": _of("name", "What prompts call it by.", required=True),
            "layout": _one_of("Where things stand.", **_LAYOUTS),
            "attention": _one_of("What a module sees while it is encoded.", **_ATTENTIONS),
            "space": _SPACE,
            "version": _VERSION,
        },
        children=(*_PARTS, "scaffold"),
        text=True,
    ),
    "module": Tag(
        "A reusable part, imported by its name. Without a name its text is its parent's.",
        {
            "name": _of("name", "What a prompt imports it by, unique in its parent."),
            "cache": _one_of(
                "Whether its states are kept.",
                true="computed once and reused (the default)",
                false="computed afresh in every prompt that imports it",
            ),
            "src": _of("path", "A file below the schema's folder that is its text."),
            "space": _SPACE,
        },
        children=_PARTS,
        text=True,
    ),
    "union": Tag(
        "Alternatives: a prompt imports at most one of its modules.",
        {
            "required": _one_of(
                "Whether a prompt must take one.",
                true="a prompt imports exactly one",
                false="a prompt may import none (the default)",
            ),
            "scaffold": _of("name", 'The member that attention="joint" sees.'),
            "space": _SPACE,
        },
        children=("module",),
        text=False,
    ),
    "param": _PARAMETER,
    "parameter": _PARAMETER,
    "scaffold": Tag(
        "Modules that get a further state, encoded together, for prompts that import them all.",
        {
            "modules": _of(
                "names", "Names, `outer/inner` for inner ones, blanks between them.", required=True
            )
        },
        children=(),
        text=False,
    ),
    **{role: _role(role, *(tag for tag in _PARTS if tag not in ROLES)) for role in ROLES},
}

_IMPORT = "Imports a module of the schema; attributes are arguments, children are imports and text."
PROMPT: Mapping[str, Tag] = {
    "prompt": Tag(
        "Says which modules of a schema it takes, fills in what is open, adds its own text.",
        {
            "schema": _of("name", "The schema's name.", required=True),
            "space": _SPACE,
            "version": _VERSION,
        },
        children=("use", "arg", *ROLES),
        text=True,
        arguments=True,
        imports=True,
    ),
    "use": Tag(
        f"{_IMPORT} For names that are no tags.",
        {"module": _of("name", "The module's name.", required=True)},
        children=("use", "arg", *ROLES),
        text=True,
        arguments=True,
        imports=True,
    ),
    "arg": Tag(
        "An argument of the import or prompt that it stands in, for values that fit no attribute.",
        {"name": _of("name", "The parameter's name.", required=True), "space": _SPACE},
        children=(),
        text=True,
    ),
    **{role: _role(role, "use", imports=True) for role in ROLES},
}
IMPORT = Tag(_IMPORT, {}, PROMPT["use"].children, text=True, arguments=True, imports=True)
"""A tag of a module's own name."""


def as_json() -> dict[str, object]:
    """All of it, as `pml language --json` prints it."""
    return {
        "language": "PML",
        "extension": ".pml",
        "schema": {name: asdict(tag) for name, tag in SCHEMA.items()},
        "prompt": {name: asdict(tag) for name, tag in PROMPT.items()},
        "import": asdict(IMPORT),
        "reserved_names": [*RESERVED],
        "rules": {
            code: {"severity": severity, "doc": doc}
            for severity, rules in (("error", ERRORS), ("warning", WARNINGS))
            for code, doc in rules.items()
        },
    }
