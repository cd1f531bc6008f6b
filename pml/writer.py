"""A `Schema` or a `Prompt` back to PML, so that parsing gives an equal one.

Text is written as it stands, right after the tag before it; where the white-space rule would
change it, its element gets `space="preserve"`. Between two tags the writer puts newlines and
indentation, which are nothing.
"""

from collections.abc import Iterator, Mapping
from typing import get_args

from pml.elements import prompt_element, schema_element
from pml.errors import PMLError
from pml.markup import Element, Limits, Text
from pml.nodes import Prompt, Role, Schema
from pml.prompt import parse_prompt
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
    text = _Writer(("schema", "module", "union"), "scaffold").document(schema_element(schema))
    if parse_schema(text, "<written>", limits=_GENEROUS) != schema:
        message = f"schema {schema.name!r} cannot be written: as PML it would mean another"
        raise PMLError(message, schema.at, code="unwritable")
    return text


def write_prompt(prompt: Prompt) -> str:
    """PML whose parse is equal to the prompt. Raises PMLError if no PML can say it.

    >>> from pml.nodes import Argument, Prompt, PromptImport, PromptText
    >>> city = PromptImport("city", {"name": Argument("Rome")})
    >>> print(write_prompt(Prompt("travel", children=(city, PromptText("Go!")))))
    <prompt schema="travel">
      <city name="Rome"/>Go!</prompt>
    <BLANKLINE>
    """
    text = unchecked_prompt(prompt)
    if parse_prompt(text, "<written>", limits=_GENEROUS) != prompt:
        message = f"this prompt for schema {prompt.schema!r} cannot be written: as PML it would"
        raise PMLError(f"{message} mean another", prompt.at, code="unwritable")
    return text


def unchecked_prompt(prompt: Prompt) -> str:
    """As `write_prompt`, without reading it back: for many prompts that are known to be sayable."""
    return _Writer(("prompt", "arg"), "arg").document(prompt_element(prompt))


class _Writer:
    """`spaced` are the tags with a `space` of their own besides roles; `declared` is the tag of
    what stands before an element's text and is no part of it."""

    def __init__(self, spaced: tuple[str, ...], declared: str) -> None:
        self.spaced = (*spaced, *get_args(Role))
        self.declared = declared

    def document(self, root: Element) -> str:
        return self.element(root, "\n", False) + "\n"

    def element(self, element: Element, newline: str, inherited: bool) -> str:
        """`newline` begins a line at the element's depth; `inherited` is the `space` around it."""
        preserve, attributes = inherited, element.attributes
        if element.tag in self.spaced:
            preserve = self.must_preserve(element, inherited)
            if preserve != inherited:
                attributes = {**attributes, "space": "preserve" if preserve else "default"}
        if not element.children:
            return _tag(element.tag, attributes)
        inner = "" if preserve and element.tag != "union" else newline + "  "
        own = self.own(element)
        before = "" if own and isinstance(own[0], Text) else inner
        pieces = [_tag(element.tag, attributes, "")]
        for child in element.children:
            if isinstance(child, Element) and child.tag == self.declared:
                pieces.append(before + self.element(child, "", preserve))
        after_tag = True
        for child in own:
            if isinstance(child, Text):
                pieces.append(_escaped(child.text))
            else:
                indent = inner if after_tag else ""
                pieces.append(indent + self.element(child, newline + "  ", preserve))
            after_tag = isinstance(child, Element)
        return "".join(pieces) + (newline if inner and after_tag else "") + f"</{element.tag}>"

    def own(self, element: Element) -> list[Element | Text]:
        return [
            child
            for child in element.children
            if isinstance(child, Text) or child.tag != self.declared
        ]

    def must_preserve(self, element: Element, inherited: bool) -> bool:
        """Whether the rule would change a text; without one `space` stays as it is."""
        changes = list(self.changes(element))
        return any(changes) if changes else inherited

    def changes(self, element: Element) -> Iterator[bool]:
        """Whether the rule would change them, for the texts that the element's `space` is for:
        an import has none, since an attribute of its tag is an argument."""
        own = self.own(element)
        for index, child in enumerate(own):
            if isinstance(child, Text):
                ends = {"first": index == 0, "last": index == len(own) - 1}
                yield child.text != normalised(child.text, **ends)
            elif child.tag not in self.spaced:
                yield from self.changes(child)


def _tag(tag: str, attributes: Mapping[str, str], close: str = "/") -> str:
    given = [f'{name}="{_quoted(value)}"' for name, value in attributes.items()]
    return f"<{' '.join([tag, *given])}{close}>"


def _escaped(text: str) -> str:
    """Text between tags. A carriage return must be a reference: XML reads a plain one as LF."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;")
    return text.replace("\r", "&#13;")


def _quoted(value: str) -> str:
    """An attribute's value; XML reads white space there as blanks unless it is a reference."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return value.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
