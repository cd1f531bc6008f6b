"""PML text to a `Schema`, and the names that a reader of one needs.

Everything that a schema says is checked here, so that whoever holds a `Schema` that was parsed
may rely on it: names are unique in their owner, no role stands in a role, unions hold named
modules only, scaffolds name modules that one prompt can import together.
"""

from pathlib import Path

from pml.errors import PMLSyntaxError, Report, raised, tagged
from pml.markup import SCHEMA_LIMITS, Limits, parse_markup
from pml.nodes import (
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Role,
    Scaffold,
    Schema,
    SchemaNode,
    children_of,
    own_nodes,
    parameters_of,
    unions_of,
)
from pml.rules import scaffold_paths
from pml.schema_reader import SchemaReader

__all__ = [
    "ModulePath",
    "PromptModule",
    "PromptParameter",
    "PromptRole",
    "PromptText",
    "PromptUnion",
    "Role",
    "Scaffold",
    "Schema",
    "SchemaNode",
    "children_of",
    "own_nodes",
    "parameters_of",
    "parse_schema",
    "scaffold_paths",
    "unions_of",
]


def parse_schema(
    text: str | bytes,
    file: str = "<schema>",
    *,
    limits: Limits = SCHEMA_LIMITS,
    src_root: Path | None = None,
    report: Report = raised,
) -> Schema:
    """The schema that the text declares; `file` is only the name that errors carry.

    `src_root` is the folder below which `src="…"` may read, as a rule the schema's own; without
    it such modules are refused. Raises PMLSyntaxError at the first thing that is wrong. With a
    `report` that does not raise, only for a document that is no well-formed schema at all: then
    the tree lacks what could not be read.

    >>> parse_schema('<schema name="s"><module name="m">Hello</module></schema>').children[0].name
    'm'
    """
    root = parse_markup(text, file, limits)
    if root.tag != "schema":
        hint = "; this is a prompt, not its schema" if root.tag == "prompt" else ""
        message = f"found {tagged(root.tag)}; expected <schema name=…>{hint}"
        raise PMLSyntaxError(message, root.at, code="wrong-root")
    return SchemaReader(limits, src_root, report).schema(root)
