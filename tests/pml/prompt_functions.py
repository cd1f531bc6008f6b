# ruff: noqa: B021, PIE790, SIM208, SIM300
"""Prompt functions of every shape, and the arguments that lead down each of their paths.

`test_program.py` compiles each and, on the other hand, lets Python itself run it.
"""

from itertools import product
from typing import Annotated, Any, Literal

from pml import program
from pml.program import Tokens, assistant, prompt_program, system, user
from pml.program import Tokens as Length

Name = Annotated[str, Tokens(40)]
LENGTH = 30
STEPS = ("Read the question.", "Think.", "Answer.")
PRICES: dict[str, int] = {"tea": 2, "cake": 5}
LEVELS = [1, 2, 3]
STRICT = False
YES, NO = (True,), (False,)


@prompt_program
def nothing() -> None:
    pass


@prompt_program
def plain() -> None:
    "One text,"
    "and another: é, 😀, <tag> & 'quotes'.\r\n\tEnd."


@prompt_program
def optional(polite: bool) -> None:
    "Answer."
    if polite:
        " Be polite."
    " Be brief."


@prompt_program
def either(formal: bool) -> None:
    if formal:
        "Dear Sir or Madam, "
    else:
        "Hi, "
    "thanks."


@prompt_program
def several_statements(deep: bool, slow: bool) -> None:
    if deep:
        "First. "
        "Second. "
        if not slow:
            "At once. "
        "Third."
        ...
    else:
        "One. "
        "Two."


@prompt_program
def chain(kind: str) -> None:
    "You write"
    if kind == "poem":
        "a poem"
    elif kind == "letter":
        "a letter"
    elif kind in ("note", "memo"):
        "a note"
    else:
        "something"
    "."


@prompt_program
def chain_without_else(level: int) -> None:
    if level > 10:
        "Expert. "
    elif level >= 5:
        "Advanced. "
    elif level < 0:
        "Impossible. "
    "Go on."


@prompt_program
def match_on_int(stars: object) -> None:
    "The rating is"
    match stars:
        case 1:
            "bad"
        case 2 | 3 | 4:
            "fair"
        case 5:
            "good"
        case -1:
            "withdrawn"
        case 2.5:
            "between"
    "."


@prompt_program
def match_on_all_literals(value: object) -> None:
    match value:
        case None:
            "None at all"
        case True:
            "yes"
        case False | "no":
            "no"
        case "":
            "an empty text"
        case "a b" | 0:
            "a b or zero"
        case _:
            "something else"


@prompt_program
def match_with_guards(animal: str, tame: bool, mood: str | None) -> None:
    match animal:
        case "cat" if tame:
            "a cat that purrs"
        case "cat":
            "a wild cat"
        case _ if mood is not None and mood != "sad":
            "some happy animal"
        case "dog":
            pass
        case _:
            "an animal"


@prompt_program
def loop() -> None:
    "Steps:\n"
    for number, step in enumerate(STEPS, start=1):
        f"{number}. {step}\n"
    for a, (b, c) in (("x", (1, None)), ("y", [2.5, True])):
        f"{a}{b}{c};"
    for _ in range(2):
        "!"
    for never in ():
        f"{never}"


@prompt_program
def loop_of_branches(wanted: list[str], top: int) -> None:
    for item in PRICES:
        if item in wanted:
            f"- {item}: "
            if top >= 5:
                "dear"
            "\n"
    for level in LEVELS:
        if level == 2:
            "two "
        elif level <= top:
            f"level {level} "
        else:
            "locked "


@prompt_program
def constant_conditions(flag: bool) -> None:
    if STRICT:
        "Strict."
    elif len(STEPS) == 3 and STEPS[0]:
        "Three steps. "
    else:
        "Never."
    if flag and not STRICT:
        f"{PRICES['tea']} for tea."
    match LEVELS[0]:
        case 2:
            "Two."
        case 1:
            " One."


@prompt_program
def slots(name: Name, city: Annotated[str, "any", Length(LENGTH)] = "Rome") -> None:
    f"{name} lives in {city}. {name}{city}"
    f"{name}"


@prompt_program
def slot_in_branch(name: Name, note: Annotated[str | None, Tokens(30)], *, loud: bool) -> None:
    if note is not None and note:
        f"Note: {note}. "
        if loud:
            f"{note}! "
    else:
        f"No note for {name}. "
    f"Bye, {name}."


@prompt_program
def greeting(who: Name, formal: bool = False) -> None:
    if formal:
        f"Good day, {who}. "
    else:
        f"Hello {who}! "


@prompt_program
def nested(name: Name, formal: bool) -> None:
    greeting(name, formal)
    greeting("all of you")
    greeting(who=name, formal=not formal)
    for each in ("Ann", "Bob"):
        greeting(each, formal=True)


@prompt_program
def nested_in_branches(
    name: Name, mode: Literal["short", "long", "none"], formal: bool = False
) -> None:
    match mode:
        case "short":
            greeting(name)
        case "long":
            nested(name, formal and mode == "long")
            "At length."


@prompt_program
def roles(language: Name, shots: int) -> None:
    with system:
        "You translate into "
        f"{language}."
        if shots == 0:
            " Do your best."
    if shots:
        with user:
            "one"
        with assistant:
            "un"
    with user:
        "two"


@prompt_program
def turn(who: str, text: Annotated[str, Tokens(20)]) -> None:
    match who:
        case "user":
            with user:
                f"{text}"
        case "assistant":
            with program.assistant:
                f"{text}"


@program.prompt_program
def conversation(question: Annotated[str, program.Tokens(20)], again: bool) -> None:
    turn("user", "Hi")
    turn("assistant", "Hello!")
    if again:
        turn("user", question)


@prompt_program
def blocks(name: Name, more: bool) -> None:
    """\
    Not a block: the line goes on."""
    f"""
    Dear {name},

      this is indented. {name}
    Yours
    """
    if more:
        """
        P.S. More:
        - {braces}
        """
    r"""
    raw \n
    """


@prompt_program
def user_(system: bool, use: bool, prompt: bool) -> None:
    if system:
        "Names that are taken "
    if use:
        "in a prompt "
    if prompt:
        "are avoided."


@prompt_program
def logic(a: bool, b: bool, c: object, /) -> None:
    if a and (b or not c):
        "first "
    if 1 < len([a, b]) <= 2 and c not in {1, "x"} and {"k": a}["k"]:
        "second "
    if not not a or b:
        "third "
    elif +1 == c or -2.5 == c:
        "fourth "
    if a is True or b is not False:
        "fifth"


@prompt_program
def attributes(point: Any, table: dict[str, list[int]]) -> None:
    if point.imag > 0:
        "above"
    elif point.real:
        "on the line"
    if table["rows"][0] == 1:
        " one row"


@prompt_program
def deep(a: int, b: int, c: int) -> None:
    if a:
        "a"
        if b:
            "b"
            match c:
                case 0:
                    "zero"
                case 1:
                    if a == b:
                        "same"
                    else:
                        "other"
                case _:
                    pass
            "end b"
        elif c:
            "c"
        "end a"


@prompt_program
def same_names(x: bool, y: bool) -> None:
    if x:
        "1"
    if x:
        "2"
    else:
        "3"
    if x and y:
        "4"
    match y:
        case True:
            "5"
        case _:
            "6"


@prompt_program
def empty_branches(x: int) -> None:
    if x == 1:
        pass
    elif x == 2:
        "two"
    else:
        ...
    if x:
        pass
    else:
        for _ in ():
            "never"
    if x == 3:
        ""
    else:
        "not three"


def every(**values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """All combinations of the values, by name."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


BOTH = (True, False)
TEXTS = ("Ann & <Bob>", "", "  é\n")

CASES: dict[str, list[dict[str, Any]]] = {
    "nothing": [{}],
    "plain": [{}],
    "optional": every(polite=BOTH),
    "either": every(formal=BOTH),
    "several_statements": every(deep=BOTH, slow=BOTH),
    "chain": every(kind=("poem", "letter", "note", "memo", "else", None)),
    "chain_without_else": every(level=(11, 10, 5, 4, 0, -1)),
    "match_on_int": every(stars=(1, 2, 3, 4, 5, -1, 2.5, 6, True, 1.0, "1", None)),
    "match_on_all_literals": every(value=(None, True, False, "no", "", "a b", 0, 1, "x", (1,))),
    "match_with_guards": every(animal=("cat", "dog", "cow"), tame=BOTH, mood=(None, "sad", "gay")),
    "loop": [{}],
    "loop_of_branches": every(
        wanted=([], ["tea"], ["cake"], ["tea", "cake", "x"]), top=(0, 1, 3, 5)
    ),
    "constant_conditions": every(flag=BOTH),
    "slots": [*every(name=TEXTS), *every(name=TEXTS, city=("Oslo", "New\tYork"))],
    "slot_in_branch": every(name=TEXTS, note=("n", "", None, 7, 2.5), loud=BOTH),
    "greeting": every(who=TEXTS, formal=BOTH),
    "nested": every(name=TEXTS, formal=BOTH),
    "nested_in_branches": every(name=TEXTS, mode=("short", "long", "none"), formal=BOTH),
    "roles": every(language=("French",), shots=(0, 1, 2)),
    "turn": every(who=("user", "assistant", "nobody"), text=("Hi", "")),
    "conversation": every(question=("Why?", "Who?"), again=BOTH),
    "blocks": every(name=TEXTS, more=BOTH),
    "user_": every(system=BOTH, use=BOTH, prompt=BOTH),
    "logic": every(a=BOTH, b=BOTH, c=(0, 1, "x", -2.5, 7)),
    "attributes": every(point=(1j, 1, 0), table=({"rows": [1]}, {"rows": [2]})),
    "deep": every(a=(0, 1, 2), b=(0, 1), c=(0, 1, 2)),
    "same_names": every(x=BOTH, y=(True, False, 1)),
    "empty_branches": every(x=(0, 1, 2, 3)),
}
