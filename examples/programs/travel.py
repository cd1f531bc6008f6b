"""The travel plan as a prompt program: `pml compile examples/programs/travel.py:travel`."""

from typing import Annotated

from pml.program import Tokens, prompt_program, system, user

RULES = (
    "Name the town to sleep in for each night.",
    "Travel by train where there is one.",
    "Say what to do when it rains.",
)


@prompt_program
def sea(swim: bool) -> None:
    "Look for a quiet coast with a harbour and a path along the cliffs."
    if swim:
        " The water should be warm enough to swim in."
    else:
        " The water is for looking at: good light matters more than warmth."


@prompt_program
def travel(
    place: str,
    duration: Annotated[str, Tokens(8)],
    question: Annotated[str, Tokens(64)],
    swim: bool = False,
    frugal: bool = False,
) -> None:
    with system:
        """
        You plan journeys for people who like to walk.
        """
        for number, rule in enumerate(RULES, start=1):
            f"{number}. {rule}\n"
        if frugal:
            "Mind the purse: hostels, markets, day tickets.\n"
        match place:
            case "city":
                "Plan for one city and what lies an hour around it."
            case "coast" | "island":
                sea(swim)
            case _:
                "Propose three places first, each in a sentence."
    with user:
        f"I have {duration}. {question}"


if __name__ == "__main__":
    from pml import write_prompt

    print(travel.pml)
    print(write_prompt(travel("coast", "a week", "Where do I start?", frugal=True)))
