"""Chat templates that are not known: rendered once, at conversion, in a process with limits.

A template is a program out of somebody else's file. A sandbox keeps it from what is around it, but
not from taking all memory or time; the process does. What it renders is believed only if it can be
taken apart at the contents of the messages, and comes out the same whatever these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from minillm.errors import LoadError, shown
from minillm.foreign.chat_form import BY_HAND, ChatForm
from minillm.foreign.chat_known import KNOWN_FORMS, recognise
from minillm.foreign.chat_table import CHECKED, NAMES, derive
from minillm.foreign.limits import Limits, run_limited

LIMITS = Limits(seconds=20, cpu_seconds=5, memory_bytes=512 << 20, file_bytes=4 << 20)
CHILD = Path(__file__).with_name("render_child.py")
BOS_MARK = "\ue000bos\ue000"  # so that the variable is told from the same text written out
CONTENTS = (
    ("Quartz", "vellum", "Kestrel", "tamarind", "Jodhpur", "meniscus"),
    ("7 apples,\nor 8?", "Zwölf Öfen.", "a {b} 'c'", "x = [1, 2]", "Что? Где!", "<i>no</i> & so"),
)
ASKED = [(roles, True) for roles in CHECKED] + [("UAU", False), ("UA", False)]


def form_of_template(template: str | None, names: Mapping[str, str]) -> ChatForm:
    """What a chat template comes down to: a form that is known, else what it renders to.

    `names` are the special tokens that it may call by name. No template is a model without chat.
    Raises `LoadError`, which shows how to write the markers by hand.
    """
    if template is None or not template.strip():
        return ChatForm({})
    if (known := recognise(template, names)) is not None:
        return known
    try:
        return render_form(template, names)
    except LoadError as error:
        why = f"the chat template is not recognised (known: {', '.join(KNOWN_FORMS)}) and cannot"
        raise LoadError(f"{why} be rendered to markers: {error}; {BY_HAND}") from error


def render_form(template: str, names: Mapping[str, str]) -> ChatForm:
    """The form of a template by rendering it; raises `LoadError` where it has none."""
    variables = {**names, "bos_token": BOS_MARK} if "bos_token" in names else dict(names)
    job = {
        "template": template,
        "variables": variables,
        "conversations": [
            {"messages": _messages(roles, contents), "add_generation_prompt": asks}
            for contents in CONTENTS
            for roles, asks in ASKED
        ],
    }
    result = run_limited(CHILD, job, LIMITS)
    rendered = result.get("rendered") if isinstance(result, dict) else None
    if not isinstance(rendered, list) or len(rendered) != len(CONTENTS) * len(ASKED):
        raise LoadError(_reason(result))
    forms = [
        _form(rendered[start : start + len(ASKED)], contents, names.get("bos_token", ""))
        for start, contents in zip(range(0, len(rendered), len(ASKED)), CONTENTS, strict=True)
    ]
    if any(one != other for one, other in pairwise(forms)):
        raise LoadError("its markers depend on what the messages say")
    return forms[0]


def _reason(result: object) -> str:
    if isinstance(result, dict) and result.get("missing"):
        return "the package jinja2 is not installed (it is in the extra `convert`)"
    error = result.get("error") if isinstance(result, dict) else None
    return f"it is wrong ({shown(error, 120)})" if error else "no answer"


def _messages(roles: str, contents: Sequence[str]) -> list[dict[str, str]]:
    names = (NAMES[letter] for letter in roles)
    return [{"role": role, "content": text} for role, text in zip(names, contents, strict=False)]


def _form(rendered: Sequence[str | None], contents: Sequence[str], bos: str) -> ChatForm:
    """The form of the conversations `ASKED`, given what they render to."""
    texts = {asked: text for asked, text in zip(ASKED, rendered, strict=True) if text is not None}
    with_bos = {text.startswith(BOS_MARK) for text in texts.values()}
    if with_bos == {True, False}:
        raise LoadError("only some chats begin with the token for the beginning of a text")

    def gaps(roles: str, asks: bool) -> Sequence[str] | None:
        text = texts.get((roles, asks))
        if text is None:
            return None
        plain = text.removeprefix(BOS_MARK).replace(BOS_MARK, bos)
        found = _gaps(plain, contents[: len(roles)])
        if found is None and "S" not in roles:
            raise LoadError("a message comes out changed, or in another place")
        return found

    return derive(gaps, with_bos == {True})


def _gaps(text: str, contents: Sequence[str]) -> list[str] | None:
    """What stands around `contents`, if each occurs once, and in their order."""
    gaps = []
    for content in contents:
        if text.count(content) != 1:
            return None
        gap, _, text = text.partition(content)
        gaps.append(gap)
    return [*gaps, text]
