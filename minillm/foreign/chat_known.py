"""Chat formats that are known: recognised in a template's text, without running it, or by name.

A template is known if its row of parts (`chat_row.py`) is that of one below. Nothing less will do:
a changed condition or one more blank makes it another format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from minillm.foreign.chat_form import ChatForm
from minillm.foreign.chat_row import row
from minillm.special_tokens import ROLES, MarkerTexts

MAX_LENGTH = 4096  # known templates are short, and longer ones not worth the time
SPELLED = {"BOS": "bos_token", "EOS": "eos_token"}


def _form(*, begins_with_bos: bool = False, **roles: MarkerTexts) -> ChatForm:
    return ChatForm(roles, begins_with_bos)


_CHATML = {role: MarkerTexts(f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ROLES}
_HEADERS = {role: f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ROLES}
KNOWN_FORMS: Mapping[str, ChatForm] = {
    "plain": ChatForm({}),
    "chatml": ChatForm(_CHATML),
    # Its publisher does not close the system's turn.
    "mpt-chat": ChatForm({**_CHATML, "system": MarkerTexts("<|im_start|>system\n", "\n")}),
    "llama2": _form(
        system=MarkerTexts("[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
        user=MarkerTexts("[INST] ", " [/INST]", after_system=""),
        assistant=MarkerTexts(" ", " EOSBOS", cue=""),
        begins_with_bos=True,
    ),
    "mistral": _form(
        user=MarkerTexts("[INST] ", " [/INST]"),
        assistant=MarkerTexts("", "EOS"),
        begins_with_bos=True,
    ),
    "llama3": _form(
        **{role: MarkerTexts(header, "<|eot_id|>") for role, header in _HEADERS.items()},
        begins_with_bos=True,
    ),
    "falcon": _form(
        system=MarkerTexts("System: ", ""),
        user=MarkerTexts("User: ", "", after_system="\nUser: "),
        assistant=MarkerTexts("\nFalcon: ", "\n", cue="\nFalcon:"),
    ),
    "vicuna": _form(
        system=MarkerTexts("", ""),
        user=MarkerTexts("USER: ", "", after_system=" USER: "),
        assistant=MarkerTexts(" ASSISTANT: ", "EOS", cue=" ASSISTANT:"),
    ),
}
"""The markers of each; `BOS` and `EOS` in `open` and `close` stand for the model's own tokens."""

_TURN = "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>"
_ASK = "{% if add_generation_prompt %}{{ 'TEXT' }}{% endif %}"
_SYSTEM_APART = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}"
)
_NO_SYSTEM = (
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
)
_ALTERNATING = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('') }}"
    "{% endif %}"
)
_CHATML_ASK = _ASK.replace("TEXT", r"<|im_start|>assistant\n")
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "plain": ("{% for message in messages %}{{ message['content'] }}{% endfor %}",),
    "chatml": (
        "{% for message in messages %}" + _TURN + r"\n' }}{% endfor %}" + _CHATML_ASK,
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        r"{{ '<|im_start|>system\nDEFAULT<|im_end|>\n' }}{% endif %}"
        + _TURN
        + r"\n' }}{% endfor %}"
        + _CHATML_ASK,
    ),
    "mpt-chat": (
        _SYSTEM_APART + "{% elif not 'system' in messages[0]['role'] %}"
        "{% set loop_messages = messages %}{% set system_message = 'DEFAULT' %}"
        + _NO_SYSTEM
        + "{% for message in loop_messages %}{% if loop.index0 == 0 %}"
        r"{% if system_message != false %}{{ '<|im_start|>system\n' + system_message + '\n' }}"
        "{% endif %}" + _TURN + r"' }}{% else %}{{ '\n' }}" + _TURN + "' }}{% endif %}"
        r"{% if (add_generation_prompt == true and loop.last) %}{{ '\n<|im_start|>assistant\n' }}"
        "{% elif (message['role'] == 'assistant') %}{% endif %}{% endfor %}",
    ),
    "llama2": (
        _SYSTEM_APART
        + _NO_SYSTEM
        + "{% for message in loop_messages %}"
        + _ALTERNATING
        + "{% if loop.index0 == 0 and system_message != false %}{% set content = "
        r"'<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + content + ' ' + eos_token }}"
        "{% endif %}{% endfor %}",
    ),
    "mistral": (
        "{{ bos_token }}{% for message in messages %}"
        + _ALTERNATING
        + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
        "{% else %}{{ raise_exception('') }}{% endif %}{% endfor %}",
    ),
    "llama3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>"
        r"\n\n' + message['content'] + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
        "{{ content }}{% endfor %}"
        + _ASK.replace("TEXT", r"<|start_header_id|>assistant<|end_header_id|>\n\n"),
    ),
    "falcon": (
        r"{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}"
        "{% if message['role'] == 'system' %}{{ 'System: ' }}"
        "{% elif message['role'] == 'user' %}{{ 'User: ' }}"
        "{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' }}{% endif %}"
        "{{ message['content'] }}{% endfor %}" + _ASK.replace("TEXT", r"\nFalcon:"),
    ),
    "vicuna": (
        "{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ message['content'] + ' ' }}{% elif message['role'] == 'user' %}"
        "{{ 'USER: ' + message['content'] + ' ' }}{% elif message['role'] == 'assistant' %}"
        "{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
        + _ASK.replace("TEXT", "ASSISTANT:"),
    ),
}
"""One way or two to write each; `DEFAULT` stands for any system prompt of the template's own."""


def recognise(template: str, names: Mapping[str, str]) -> ChatForm | None:
    """The form of a known template, None for any other; `names` are the model's special tokens."""
    parts = "\x1f".join(row(template)) if len(template) <= MAX_LENGTH else ""
    for name, patterns in _patterns().items():
        if any(pattern.fullmatch(parts) for pattern in patterns):
            return known_form(name, names)
    return None


def known_form(name: str, names: Mapping[str, str]) -> ChatForm | None:
    """A known form, made of the model's own special tokens; None where it lacks one."""
    form = KNOWN_FORMS[name]
    found = str(form.roles)
    needed = {word: token for word, token in SPELLED.items() if word in found}
    if needed.values() - names.keys():
        return None

    def spelled(text: str) -> str:
        for word, token in needed.items():
            text = text.replace(word, names[token])
        return text

    roles = {
        role: replace(texts, open=spelled(texts.open), close=spelled(texts.close))
        for role, texts in form.roles.items()
    }
    return replace(form, roles=roles)


@cache
def _patterns() -> Mapping[str, Sequence[re.Pattern[str]]]:
    """What the rows of known templates match. One that always asks does as well as one that asks
    when it is told to."""

    def pattern(template: str) -> re.Pattern[str]:
        known = re.escape("\x1f".join(row(template)))
        return re.compile(known.replace("DEFAULT", r"[^\x1f]*"))

    def always(template: str) -> str:
        before, condition, ask = template.rpartition("{% if add_generation_prompt %}")
        return before + ask.removesuffix("{% endif %}") if condition else template

    return {
        name: [pattern(variant) for t in templates for variant in (t, always(t))]
        for name, templates in TEMPLATES.items()
    }
