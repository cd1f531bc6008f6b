"""Prompts that fit their schema, and all that is wrong with one that does not.

The exact line of each error stands in `data/errors_prompt.txt`.
"""

from pathlib import Path

import pytest

from pml.check import prompt_errors
from pml.errors import PMLPromptError
from pml.prompt import Prompt, PromptRole, check_prompt, parse_prompt
from pml.schema import parse_schema

TRAVEL = parse_schema((Path(__file__).parent / "data" / "travel.pml").read_bytes())


def travel(document: str) -> Prompt:
    return parse_prompt(f"<prompt schema='travel' days='3'>{document}</prompt>", "p")


@pytest.mark.parametrize(
    "document",
    [
        "",
        "text",
        "<notes/><plan><abroad/></plan>",
        "<plan style='brisk'><home city='Rome'/></plan>",
        "<plan><abroad><goa/> or so </abroad></plan>",
        "<plan><home><arg name='city'>Rome</arg></home></plan>",
        "<use module='my notes'/><use module='notes'/>",
        "<user><notes/></user><assistant>ok</assistant><user><use module='my notes'/></user>",
        "<notes><user>a</user></notes>",
        "<dialog><user>a</user><deep/></dialog>",
    ],
)
def test_fits(document: str) -> None:
    check_prompt(travel(document), TRAVEL)


def test_repeat_lets_a_module_be_imported_again() -> None:
    prompt = travel("<notes/><notes/><plan><abroad><goa/><goa/></abroad></plan>")
    check_prompt(prompt, TRAVEL, repeat=True)
    with pytest.raises(PMLPromptError, match="p:1:42: a second import of 'notes'"):
        check_prompt(prompt, TRAVEL)
    rivals = travel("<plan><abroad><goa/><mali/></abroad></plan>")
    with pytest.raises(PMLPromptError, match="of which a union admits one"):
        check_prompt(rivals, TRAVEL, repeat=True)


def test_all_errors_of_a_prompt() -> None:
    prompt = travel("<plan x='1'><home/>\n<abroad/></plan>\n<plan/><oslo/>")
    found = [
        (error.at and error.at.line, error.message.split(";")[0])
        for error in prompt_errors(prompt, TRAVEL)
    ]
    assert found == [
        (1, "module 'plan' has no parameter 'x'"),
        (1, "module 'plan/home' lacks its argument 'city', which has no default"),
        (2, "the prompt imports both 'home' of line 1 and 'abroad', of which a union admits one"),
        (3, "a second import of 'plan', after that of line 1"),
        (3, "module 'plan' requires a member of its union"),
        (3, "the schema's root holds no module 'oslo'"),
    ]


def test_a_role_in_a_role_is_found_in_a_prompt_that_was_built() -> None:
    inner = PromptRole("user", (PromptRole("system"),))
    errors = [error.message for error in prompt_errors(Prompt("travel", children=(inner,)), TRAVEL)]
    assert errors[-1] == "<system> inside <user>, line 1: a role holds no role; leave it out here"


ODD = parse_schema(
    """
    <schema name="odd"><param name="schema" len="2"/>
      <module name="a b"><param name="x y" len="1"/><param name="module" len="1"/></module>
      <module name="one"><module name="same"/><param name="p" len="1"/></module>
      <module name="two"><module name="same"/><param name="p" len="1" default=""/></module>
    </schema>""".strip()
)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "write <arg name='schema'>…</arg> inside its tag, at most 2 tokens long"),
        (
            "<use module='a b'/>",
            "write <arg name='x y'>…</arg> inside its tag, at most 1 tokens long",
        ),
        ("<one/>", 'write <one p="…">, at most 1 tokens long'),
        ("<same/>", "it stands at 'one/same' or 'two/same': import it inside <one> or <two>"),
        ("<two p='' q=''/>", "module 'two' has no parameter 'q'; expected 'p'"),
        ("<two><same p=''/></two>", "it is one of 'one' or 'two': give it there"),
        ("<two><same schema=''/></two>", "it is one of 'odd': give it there"),
    ],
)
def test_advice(document: str, message: str) -> None:
    prompt = parse_prompt(f"<prompt schema='odd'>{document}</prompt>")
    assert any(str(error).endswith(message) for error in prompt_errors(prompt, ODD))
