"""White space between the tags: which of it is text and which is the document's own layout.

White space is space, tab, carriage return and line feed, as in XML; other blanks are ordinary
characters. A text is what stands between two tags, comments left out, CDATA sections taken in.
"""

from collections.abc import Callable

from pml.attributes import Attributes
from pml.errors import Location, Report, raised
from pml.markup import Element, Text

WHITE = " \t\r\n"


def normalised(text: str, *, first: bool, last: bool) -> str:
    r"""The text as the model gets it (specification, section 4).

    `first` and `last` tell that nothing stands before or after it in its element: that end is an
    *outer end*. The outer ends of roles and arguments count as those of modules and prompts do,
    since a chat marker followed by a stray newline would surprise.

    - White space only: nothing if it holds a newline or is at an outer end, else one blank.
    - Other text loses the margin that all its non-blank lines share. Its first line is left out
      of the comparison and of the loss: it follows a tag, not a margin. A blank line
      loses what it has of the margin.
    - Then the run of white space at either end becomes nothing at an outer end, else one newline
      if it holds one, else one blank. What is between the ends stays as it is.

    >>> normalised("\n    if x:\n        go()\n  ", first=True, last=True)
    'if x:\n    go()'
    >>> normalised(" in\n    Rome ", first=False, last=False)
    ' in\nRome '
    """
    if not text.strip(WHITE):
        return "" if first or last or "\n" in text else " "
    text = _dedented(text)
    body = text.strip(WHITE)
    start = text.index(body)
    before, after = text[:start], text[start + len(body) :]
    return ("" if first else _joint(before)) + body + ("" if last else _joint(after))


def _joint(run: str) -> str:
    return "\n" if "\n" in run else " " if run else ""


def _dedented(text: str) -> str:
    if "\n" not in text:
        return text
    first, *rest = text.split("\n")
    margins = [line[: len(line) - len(line.lstrip(WHITE))] for line in rest if line.strip(WHITE)]
    margin = _common_start(margins)
    return "\n".join([first, *(line[len(_common_start([line, margin])) :] for line in rest)])


def _common_start(lines: list[str]) -> str:
    shortest, longest = min(lines, default=""), max(lines, default="")
    for index, character in enumerate(shortest):
        if longest[index : index + 1] != character:
            return shortest[:index]
    return shortest


def preserves(element: Element, inherited: bool, report: Report = raised) -> bool:
    """Whether the element's text keeps every character.

    `space="preserve"` says so for the element and all below it, `space="default"` ends it there.
    """
    space = Attributes(element, report).choice("space", ("preserve", "default"))
    return inherited if space is None else space == "preserve"


def settled(
    element: Element, preserve: bool, lifted: Callable[[Element], bool] = lambda child: False
) -> tuple[Element | Text, ...]:
    """The element's children with the white space of their texts settled, empty texts dropped.

    A child that is `lifted` is a declaration and no part of the text: it is left out, and the
    texts around it are one text, as around a comment.
    """
    joined: list[Element | Text] = []
    for child in element.children:
        if isinstance(child, Element):
            if not lifted(child):
                joined.append(child)
        elif joined and isinstance(joined[-1], Text):
            joined[-1] = _merged(joined[-1], child)
        else:
            joined.append(child)
    if preserve:
        return tuple(joined)
    kept: list[Element | Text] = []
    for index, child in enumerate(joined):
        if isinstance(child, Text):
            text = normalised(child.text, first=index == 0, last=index == len(joined) - 1)
            if text:
                kept.append(Text(text, child.at))
        else:
            kept.append(child)
    return tuple(kept)


def _merged(one: Text, other: Text) -> Text:
    at: Location = one.at if one.text.strip(WHITE) else other.at
    return Text(one.text + other.text, at)
