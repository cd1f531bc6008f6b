"""Chat templates: recognised to the letter, else rendered in a cage, else refused."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minillm.errors import LoadError
from minillm.foreign import chat_render
from minillm.foreign.chat_form import ChatForm
from minillm.foreign.chat_known import KNOWN_FORMS, MAX_LENGTH, TEMPLATES, known_form, recognise
from minillm.foreign.chat_render import form_of_template, render_form
from minillm.foreign.chat_row import row
from minillm.foreign.limits import Limits, run_limited
from minillm.special_tokens import ROLES, MarkerTexts

NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML = TEMPLATES["chatml"][0]
KNOWN = [(name, template) for name, templates in TEMPLATES.items() for template in templates]
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


def same(one: ChatForm | None, other: ChatForm | None) -> bool:
    """The same markers; whether their names must be tokens is not told by rendering."""
    return (
        one is not None
        and other is not None
        and replace(one, may_be_plain=True) == replace(other, may_be_plain=True)
    )


@pytest.mark.parametrize(("name", "template"), KNOWN)
def test_a_known_template_is_what_it_renders_to(name: str, template: str) -> None:
    found = recognise(template, NAMES)
    assert found == known_form(name, NAMES)
    assert same(found, render_form(template, NAMES) if found else None)


SPELLINGS = {
    "attributes": CHATML.replace("message['role']", "message.role").replace(
        "message['content']", "message.content"
    ),
    "double quotes": CHATML.replace("'", '"'),
    "tildes": CHATML.replace(" + ", "~"),
    "one insertion each": CHATML.replace(" + ", " }}{{ "),
    "signs that drop blanks": CHATML.replace("{{ ", "{{- ").replace("{% ", "{%- "),
    "on several lines": CHATML.replace("{% ", "    {% ")
    .replace("%}", "%}\n")
    .replace("{{ ", "    {{- ")
    .replace("}}", "-}}\n"),
    "a comment": "{# ChatML's #}" + CHATML,
    "written out": (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
        "<|im_end|>\n{% endfor %}" + ASK
    ),
    "trimmed": CHATML.replace("message['content']", "message['content'] | trim"),
    "stripped": CHATML.replace("message['content']", "message['content'].strip()"),
    "a default": (
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
        "{% endif %}" + CHATML
    ),
    "always asking": CHATML.replace(ASK, "{{ '<|im_start|>assistant\\n' }}"),
}


@pytest.mark.parametrize("template", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_other_spellings_are_recognised(template: str) -> None:
    assert template != CHATML
    assert recognise(template, NAMES) == KNOWN_FORMS["chatml"]
    assert same(KNOWN_FORMS["chatml"], render_form(template, NAMES))


def test_any_default_system_prompt_is_left_out() -> None:
    template = TEMPLATES["chatml"][1].replace("DEFAULT", "You are Ü, 100 % \\'ok\\'.")
    assert recognise(template, NAMES) == KNOWN_FORMS["chatml"]
    assert same(KNOWN_FORMS["chatml"], render_form(template, NAMES))


def test_no_template_is_a_model_without_chat() -> None:
    for template in (None, " \n", "{% for message in messages %}{{ message.content }}{% endfor %}"):
        assert form_of_template(template, NAMES).roles == {}


def mutated(template: str, rng: random.Random) -> str:
    """A character changed, left out or doubled, or two parts exchanged."""
    at = rng.randrange(len(template))
    match rng.randrange(4):
        case 0:
            return template[:at] + template[at + 1 :]
        case 1:
            return template[:at] + template[at] + template[at:]
        case 2:
            return template[:at] + rng.choice(" \n|<>'\"{}%+-_ae0") + template[at + 1 :]
    tags = re.findall(r"\{[%{].*?[%}]\}", template)
    one, other = rng.sample(tags, 2)
    return template.replace(one, "\0", 1).replace(other, one, 1).replace("\0", other, 1)


@pytest.mark.fuzz
@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.soak)])
def test_nothing_like_a_known_template_is_taken_for_it(count: int) -> None:
    rng, taken = random.Random(5), set[str]()
    for _ in range(count):
        template = rng.choice(KNOWN)[1]
        changed = mutated(template, rng)
        found = recognise(changed, NAMES)
        if found is None or changed in (template, *taken):
            continue
        taken.add(changed)
        # It must do the same after all: with another blank between words, say.
        assert same(found, render_form(changed, NAMES)), changed
    assert 0 < len(taken) < count / 4


def test_recognising_takes_no_time_whatever_the_template() -> None:
    started = time.process_time()
    for part in ("{%", "{{ '", "{{ 'a' ", "{# ", "'\\", "{% '\\'"):
        assert recognise(part * (MAX_LENGTH // len(part)), NAMES) is None
    assert recognise(CHATML + " " * MAX_LENGTH, NAMES) is None
    assert time.process_time() - started < 2


def turns(user: str, assistant: str, system: str = "", ask: str = "") -> str:
    """A template out of what it inserts for each role."""
    return (
        "{% for message in messages %}{% if message.role == 'user' %}" + user
        + "{% elif message.role == 'assistant' %}" + assistant
        + "{% else %}" + (system or "{{ raise_exception('no system') }}")
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}" + ask + "{% endif %}"
    )  # fmt: skip


CONTENT = "{{ message.content }}"
LLAMA_3_1 = (
    "{{- bos_token }}{%- set date = '26 Jul 2024' %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date + '\\n\\n' }}"
    "{{- system }}{{- '<|eot_id|>' }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
RENDERED: Mapping[str, tuple[str, ChatForm]] = {
    "zephyr": (
        turns(
            f"<|user|>\n{CONTENT}</s>\n",
            f"<|assistant|>\n{CONTENT}</s>\n",
            f"<|system|>\n{CONTENT}</s>\n",
            "<|assistant|>\n",
        ),
        ChatForm({role: MarkerTexts(f"<|{role}|>\n", "</s>\n") for role in ROLES}),
    ),
    "no system, no cue": (
        "{{ bos_token }}" + turns(f"[INST]{CONTENT}[/INST]", f" {CONTENT}</s>"),
        ChatForm(
            {
                "user": MarkerTexts("[INST]", "[/INST]"),
                "assistant": MarkerTexts(" ", "</s>", cue=""),
            },
            begins_with_bos=True,
        ),
    ),
    "a date in each system turn": (
        LLAMA_3_1,
        ChatForm(
            {
                **KNOWN_FORMS["llama3"].roles,
                "system": MarkerTexts(
                    "<|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024\n\n",
                    "<|eot_id|>",
                ),
            },
            begins_with_bos=True,
        ),
    ),
    "alpaca": (
        turns(
            f"### Instruction:\n{CONTENT}\n\n",
            f"### Response:\n{CONTENT}\n\n",
            f"{CONTENT}\n\n",
            "### Response:\n",
        ),
        ChatForm(
            {
                "system": MarkerTexts("", ""),
                "user": MarkerTexts(
                    "### Instruction:\n", "\n\n", after_system="\n\n### Instruction:\n"
                ),
                "assistant": MarkerTexts("### Response:\n", "\n\n"),
            }
        ),
    ),
    "the system's message in the last question": (
        "{% for message in messages if message.role != 'system' %}"
        "{% if message.role == 'user' %}Q: {% if loop.last and messages[0].role == 'system' %}"
        "{{ messages[0].content }}\n{% endif %}{{ message.content }}\n"
        "{% else %}A: {{ message.content }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}",
        ChatForm(
            {"user": MarkerTexts("Q: ", "\n"), "assistant": MarkerTexts("A: ", "\n", cue="A:")}
        ),
    ),
}


@pytest.mark.parametrize(("template", "expected"), RENDERED.values(), ids=RENDERED.keys())
def test_unknown_templates_are_rendered(template: str, expected: ChatForm) -> None:
    assert recognise(template, NAMES) is None
    found = form_of_template(template, NAMES)
    assert found.may_be_plain
    assert same(found, expected)


REFUSED = {
    "no Jinja": ("{% for %}", "TemplateSyntaxError"),
    "an escape": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses a plain conversation"),
    "all memory": ("{{ 'a' * 10 ** 10 }}", "refuses a plain conversation"),
    "all memory, bit by bit": (
        "{% set ns = namespace(a='a') %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}"
        "{% endfor %}",
        "refuses a plain conversation",
    ),
    "endless output": (
        turns("{{ message.content }}{{ 'a' * 1000000 }}", CONTENT),
        "stopped: too much output",
    ),
    "endless time": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "stopped: too much computing time",
    ),
    "a changed message": (turns("{{ message.content | upper }}", CONTENT), "comes out changed"),
    "a message left out": (turns("User:", CONTENT), "comes out changed"),
    "a message twice": (turns(CONTENT + CONTENT, CONTENT), "comes out changed"),
    "another order": (
        "{% for message in messages | reverse %}{{ message.content }};{% endfor %}",
        "comes out changed",
    ),
    "a length in each turn": (
        turns(CONTENT + "{{ message.content | length }}\n", CONTENT + "\n"),
        "cannot be told from",
    ),
    "markers that depend on what is said": (
        turns("{{ 'Q' if messages[0].content | length > 9 else 'q' }}: " + CONTENT, CONTENT),
        "its markers depend on what the messages say",
    ),
    "numbered turns": (
        "{% for message in messages %}{{ loop.index }}: {{ message.content }}\n{% endfor %}",
        "what it puts before the first message is no system prompt",
    ),
    "a text that is always there": (
        "Be good.\n" + turns(f"User: {CONTENT}\n", f"Bot: {CONTENT}\n", ask="Bot:"),
        "begins with a text that can be neither changed nor left out",
    ),
    "the beginning of a text at times": (
        "{% if messages | length > 1 %}{{ bos_token }}{% endif %}" + turns(CONTENT, CONTENT),
        "only some chats begin with",
    ),
    "no conversation": ("{{ raise_exception('never') }}", "refuses a plain conversation"),
}


@pytest.mark.parametrize(("template", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_fixed_markers_is_refused_with_the_way_out(
    template: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "time" in why:
        monkeypatch.setattr(chat_render, "LIMITS", replace(chat_render.LIMITS, cpu_seconds=1))
    started = time.monotonic()
    with pytest.raises(LoadError) as caught:
        form_of_template(template, NAMES)
    message = str(caught.value)
    assert why in message
    assert re.search(r'not recognised .* \{"roles": \{"user": .* --roles', message)
    assert "\n" not in message
    assert time.monotonic() - started < 10


def test_without_jinja_only_known_templates_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_render, "run_limited", lambda *_: {"missing": "jinja2"})
    assert form_of_template(CHATML, NAMES) == KNOWN_FORMS["chatml"]
    with pytest.raises(LoadError, match="the package jinja2 is not installed"):
        form_of_template(LLAMA_3_1, NAMES)


def test_a_form_needs_the_tokens_that_it_is_made_of() -> None:
    assert known_form("llama2", {"eos_token": "</s>"}) is None
    assert known_form("mistral", {"eos_token": "<|end|>"}) is not None
    assert recognise(TEMPLATES["llama2"][0], {}) is None


def script(path: Path, body: str) -> Path:
    root = Path(chat_render.__file__).parents[2]
    head = f"import sys\nsys.path.insert(0, {str(root)!r})\n"
    head += "from minillm.foreign.limits import answer, receive_job\njob = receive_job()\n"
    path.write_text(head + body, encoding="utf-8")
    return path


LIMITS = Limits(seconds=60, cpu_seconds=1, memory_bytes=256 << 20, file_bytes=1 << 16)


def test_a_process_is_not_waited_for_longer_than_its_limit(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="stopped after 1 seconds"):
        run_limited(
            script(tmp_path / "child.py", "import time; time.sleep(60)"),
            {},
            replace(LIMITS, seconds=1),
        )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("while True: pass", "stopped: too much computing time"),
        ("a = bytes(1 << 30)", "too much memory"),
        ("answer('a' * (1 << 17))", "stopped: too much output"),
        ("sys.stdout.write('[1, ')", "the answer is not whole"),
    ],
)
def test_a_process_is_held_to_its_limits(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        run_limited(script(tmp_path / "child.py", body), {}, LIMITS)


def test_a_process_answers_and_knows_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    body = "import os; answer([job, 'SECRET' in os.environ, os.getcwd()])"
    assert run_limited(script(tmp_path / "child.py", body), {"a": "é"}, LIMITS) == [
        {"a": "é"},
        False,
        "/",
    ]


def test_rows_join_what_is_written_and_keep_the_rest() -> None:
    assert row("a{{ 'b' }}{# c #}{% if x %}{{ y['z'] }}{% endif %}") == (
        "=ab",
        "%if x",
        "$y['z']",
        "%endif",
    )
    assert row("{{ (a + 'b') + 'it\\'s' }}") == ("$(a+'b')", "=it's")
