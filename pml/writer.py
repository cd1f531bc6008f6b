"""A `Schema` back to PML, so that parsing gives an equal schema.

Text is written as it stands, right after the tag before it; where the white-space rule would
change it, its element gets `space="preserve"`. Between two tags the writer puts newlines and
indentation, which are nothing.
"""

from collections.abc import Mapping, Sequence

from pml.errors import PMLError
from pml.markup import Limits
from pml.nodes import (
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
)
from pml.schema import parse_schema
from pml.whitespace import normalised

_GENEROUS = Limits(document_bytes=1 << 30, elements=1 << 30, depth=200)


def write_schema(schema: Schema) -> str:
    """PML whose parse is equal to the schema.

    What came from `src` is written in place. A schema built by a program that no PML can say (two
    texts side by side, a name used twice, a control character) raises PMLError.

    >>> from pml.nodes import PromptModule, PromptText, Schema
    >>> hello = PromptModule("hello", children=(PromptText("Hi & bye"),))
    >>> print(write_schema(Schema("s", children=(hello,))))
    <schema name="s">
      <module name="hello">Hi &amp; bye</module>
    </schema>
    <BLANKLINE>
    """
    attributes = {"name": schema.name, "layout": schema.layout, "attention": schema.attention}
    scaffolds = [_tag("scaffold", {"modules": " ".join(s.modules)}) for s in schema.scaffolds]
    text = _element("schema", attributes, schema.children, "\n", False, scaffolds) + "\n"
    if parse_schema(text, "<written>", limits=_GENEROUS) != schema:
        message = f"schema {schema.name!r} cannot be written: as PML it would mean another"
        raise PMLError(message, schema.at)
    return text


def _element(
    tag: str,
    attributes: Mapping[str, str | None],
    children: tuple[SchemaNode, ...],
    newline: str,
    inherited: bool,
    declarations: Sequence[str] = (),
) -> str:
    """`newline` begins a line at the element's depth; `inherited` is the `space` around it."""
    preserve = _must_preserve(children, inherited)
    space = {True: "preserve", False: "default"}[preserve] if preserve != inherited else None
    attributes = {**attributes, "space": space}
    if not children and not declarations:
        return _tag(tag, attributes)
    inner = "" if preserve and tag != "union" else newline + "  "
    starts_with_text = children and isinstance(children[0], PromptText)
    pieces = [_tag(tag, attributes, "")]
    pieces += [("" if starts_with_text else inner) + declaration for declaration in declarations]
    after_tag = True
    for child in children:
        if isinstance(child, PromptText):
            pieces.append(_escaped(child.text))
        else:
            pieces.append((inner if after_tag else "") + _node(child, newline + "  ", preserve))
        after_tag = not isinstance(child, PromptText)
    return "".join(pieces) + (newline if inner and after_tag else "") + f"</{tag}>"


def _node(
    node: PromptRole[SchemaNode] | PromptParameter | PromptModule | PromptUnion,
    newline: str,
    preserve: bool,
) -> str:
    match node:
        case PromptRole():
            return _element(node.role, {}, node.children, newline, preserve)
        case PromptModule():
            cache = None if node.cache else "false"
            attributes = {"name": node.name, "cache": cache}
            return _element("module", attributes, node.children, newline, preserve)
        case PromptUnion():
            required = "true" if node.required else None
            attributes = {"scaffold": node.scaffold, "required": required}
            return _element("union", attributes, node.members, newline, preserve)
        case _:
            length = str(node.length)
            attributes = {"name": node.name, "len": length}
            return _tag("param", attributes | {"default": node.default, "scaffold": node.scaffold})


def _must_preserve(children: tuple[SchemaNode, ...], inherited: bool) -> bool:
    """Whether the rule would change a text among these; without one `space` stays as it is."""
    last = len(children) - 1
    texts = [(i, child.text) for i, child in enumerate(children) if isinstance(child, PromptText)]
    if not texts:
        return inherited
    return any(text != normalised(text, first=i == 0, last=i == last) for i, text in texts)


def _tag(tag: str, attributes: Mapping[str, str | None], close: str = "/") -> str:
    given = [
        f'{name}="{_quoted(value)}"' for name, value in attributes.items() if value is not None
    ]
    return f"<{' '.join([tag, *given])}{close}>"


def _escaped(text: str) -> str:
    """Text between tags. A carriage return must be a reference: XML reads a plain one as LF."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;")
    return text.replace("\r", "&#13;")


def _quoted(value: str) -> str:
    """An attribute's value; XML reads white space there as blanks unless it is a reference."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return value.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
