"""From what a chat template renders to the markers around each role, if there are such.

The contents of the messages are marks that occur nowhere else. What stands between two of them is
a gap: it closes one turn and opens the next. Of system, user, assistant, user, and asking for an
answer, the gaps are

    open S · close S, open U · close U, open A · close A, open U · close U, ask A

Where a gap is to be cut is told by comparing conversations. The markers found are believed only if
all conversations are made up of them, to the letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace

from minillm.errors import LoadError
from minillm.foreign.chat_form import ChatForm
from minillm.special_tokens import MarkerTexts

Gaps = Callable[[str, bool], Sequence[str] | None]
"""The gaps of a conversation such as "SUAU", None where the template refuses it or puts the
system's message elsewhere; the flag: an answer is asked for at its end."""

Roles = dict[str, MarkerTexts]
NAMES = {"S": "system", "U": "user", "A": "assistant"}
CHECKED = ("U", "UAU", "UAUAU", "SU", "SUAU", "SUAUAU")


def derive(gaps: Gaps, begins_with_bos: bool) -> ChatForm:
    """The markers that make up every conversation; raises `LoadError` where none do."""
    opening = _required(gaps, "U")[0]
    roles = _dialogue(gaps, opening)
    # A template may put in a system prompt of its own where a chat has none. It is no marker.
    has_default = opening != roles["user"].open
    chat = gaps("SU", True)
    if chat is not None and all(gaps(c, True) is not None for c in CHECKED):
        if has_default and not (opening.startswith(chat[0]) and opening.endswith(chat[1])):
            raise LoadError("what it puts before the first message is no system prompt")
        roles = _with_system(roles, *chat[:2])
    elif has_default:
        raise LoadError("it begins with a text that can be neither changed nor left out")
    if has_default:
        roles = _without_first_blanks(roles)
    for conversation in CHECKED:
        if "S" not in conversation or "system" in roles:
            made = _composed(roles, conversation)
            if has_default and "S" not in conversation:
                made[0] = opening
            if list(_required(gaps, conversation)) != made:
                raise LoadError("its turns are not made up of fixed markers")
    if not any(text for texts in roles.values() for text in astuple(texts)):
        return ChatForm({}, begins_with_bos)
    return ChatForm(roles, begins_with_bos, may_be_plain=True)


def _dialogue(gaps: Gaps, opening: str) -> Roles:
    """The markers of user and assistant, `opening` being what stands before a first message."""
    question, answer, asking = _required(gaps, "UAU")[1:]
    unasked, answered = gaps("UAU", False), gaps("UA", False)
    if answer.endswith(opening):
        answer_close = answer.removesuffix(opening)
    elif answered and answer.startswith(answered[-1]):
        answer_close = answered[-1]
    else:
        raise LoadError("the end of an answer cannot be told from the beginning of a question")
    end = unasked[-1] if unasked else ""
    if end == asking == question:  # it always asks, or it never does
        end = answer_close if question.startswith(answer_close) and answer_close else question
    if not (question.startswith(end) and asking.startswith(end)):
        raise LoadError("the end of a question cannot be told from the beginning of an answer")
    # A blank goes with the word that follows it: most vocabularies have the two as one token.
    end = end.rstrip(" ")
    opens, asks = question.removeprefix(end), asking.removeprefix(end)
    return {
        "user": MarkerTexts(answer.removeprefix(answer_close), end),
        "assistant": MarkerTexts(opens, answer_close, cue=None if asks == opens else asks),
    }


def _with_system(roles: Roles, opening: str, gap: str) -> Roles:
    """The same with the markers of the system's turn: `gap` is between it and a user's."""
    user = roles["user"]
    if gap == user.open:
        return {"system": MarkerTexts(opening, ""), **roles}
    if not (user.open and gap.endswith(user.open)):
        # The system's turn is inside of the user's, which `opening` has begun.
        return {
            "system": MarkerTexts(opening, gap),
            **roles,
            "user": replace(user, after_system=""),
        }
    close = gap.removesuffix(user.open)
    if close and not close.strip():
        # The blanks belong to the user's turn: they are not there if it comes first.
        return {
            "system": MarkerTexts(opening, ""),
            **roles,
            "user": replace(user, after_system=gap),
        }
    return {"system": MarkerTexts(opening, close), **roles}


def _without_first_blanks(roles: Roles) -> Roles:
    """The same conversations, but blanks that begin every turn but the first end the one before.

    Without the system prompt that is left out they would be the first thing in a chat.
    """
    user, answer = roles["user"], roles["assistant"]
    blanks = user.open[: len(user.open) - len(user.open.lstrip())]
    asks = answer.open if answer.cue is None else answer.cue
    if not (answer.open.startswith(blanks) and asks.startswith(blanks)):
        return roles
    return {
        role: replace(
            texts,
            open=texts.open if role == "system" else texts.open.removeprefix(blanks),
            close=texts.close + blanks,
            after_system=texts.after_system and texts.after_system.removeprefix(blanks),
            cue=texts.cue and texts.cue.removeprefix(blanks),
        )
        for role, texts in roles.items()
    }


def _composed(roles: Roles, conversation: str) -> list[str]:
    """The gaps of a conversation made up of `roles`."""
    gaps, before, closing = [], "", ""
    for letter in conversation:
        texts = roles[NAMES[letter]]
        inside = before == "S" and texts.after_system is not None
        gaps.append(closing + (texts.after_system or "" if inside else texts.open))
        before, closing = letter, texts.close
    answer = roles["assistant"]
    return [*gaps, closing + (answer.open if answer.cue is None else answer.cue)]


def _required(gaps: Gaps, conversation: str) -> Sequence[str]:
    found = gaps(conversation, True)
    if found is None:
        raise LoadError("it refuses a plain conversation")
    return found
