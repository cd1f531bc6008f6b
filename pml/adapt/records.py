"""Invented people, villages, machines and projects, and what can be told of them.

Names and values are none of the task `records` (`pml/eval/data`), which measures the result.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

FIRST = (
    "Aisha Bram Celine Dario Edith Felix Gwen Harald Ines Jules Kira Lars Mona Noel Otto Paula "
    "Quinn Ruth Stefan Thea Ursula Vera Wim Yara Zeno"
)
LAST = (
    "Abbott Bauer Cortez Drake Egan Fischer Gallo Hansen Ibsen Jordan Klein Lindqvist Moreau Nash "
    "Ortega Pryce Quist Rossi Sato Tremblay Ueda Voss Weber Young Zimmer"
)
HEADS = "Bel Cor Dun El Fen Gar Hol Is Kel Lor Mar Nor Os Pel Quar Ros Sel Tor Ul Ven Wes Yel"
TAILS = "bury dale fast gate holm ing keld low mere ness ock port rick stead ton vik wold"

Draw = Callable[[random.Random], str]


def _one_of(words: str) -> Draw:
    choices = words.split(", ")
    return lambda chance: chance.choice(choices)


def _number(low: int, high: int) -> Draw:
    return lambda chance: str(chance.randint(low, high))


def _person(chance: random.Random) -> str:
    return f"{chance.choice(FIRST.split())} {chance.choice(LAST.split())}"


def _village(chance: random.Random) -> str:
    return chance.choice(HEADS.split()) + chance.choice(TAILS.split())


def _machine(chance: random.Random) -> str:
    return f"the {_village(chance)} {chance.randint(2, 99)}"


def _project(chance: random.Random) -> str:
    return f"project {_village(chance)}"


@dataclass(frozen=True)
class Fact:
    """`told` and `lead` name the subject and `told` the value, which also follows `lead`."""

    told: str
    asked: str
    lead: str
    value: Draw


@dataclass(frozen=True)
class Kind:
    name: Draw
    pronoun: str
    facts: tuple[Fact, ...]


LANGUAGES = _one_of("Finnish, Greek, Tamil, Welsh, Danish, Korean, Swahili, Polish, Basque, Urdu")
INSTRUMENTS = _one_of("violin, trumpet, harp, cello, flute, banjo, organ, drums, oboe, accordion")
DISHES = _one_of("lentil soup, fried rice, apple pie, onion tart, pea stew, dumplings, ravioli")
GOODS = _one_of("cheese, glass, lace, honey, knives, pottery, cider, wool, salt, candles, clocks")
LANDS = _one_of("Chile, Kenya, Norway, Japan, Canada, Hungary, Morocco, Vietnam, Peru, Iceland")
YEAR, CODE = _number(800, 1999), _number(1000, 99999)
MONTHS = _one_of("January, February, March, April, May, June, July, August, October, December")
METALS = _one_of("copper, steel, bronze, tin, zinc, brass, nickel, iron, titanium, aluminium")

KINDS = (
    Kind(
        _person,
        "This person",
        (
            Fact("{} was born in {}.", "When was {} born?", "{} was born in", YEAR),
            Fact("{} speaks {}.", "Which language does {} speak?", "{} speaks", LANGUAGES),
            Fact("{} plays the {}.", "What does {} play?", "{} plays the", INSTRUMENTS),
            Fact("{} likes {} best.", "What does {} like best?", "{} likes", DISHES),
            Fact("{} is married to {}.", "Who is married to {}?", "{} is married to", _person),
            Fact("{} spent a year in {}.", "Where was {} for a year?", "{} was in", LANDS),
            Fact("{} has the badge {}.", "What is the badge of {}?", "The badge is", CODE),
        ),
    ),
    Kind(
        _village,
        "The village",
        (
            Fact("{} has {} inhabitants.", "How many live in {}?", "{} has", _number(120, 9800)),
            Fact("{} lies on the river {}.", "On which river is {}?", "{} lies on the", _village),
            Fact("{} is known for its {}.", "What is {} known for?", "{} is known for its", GOODS),
            Fact("The mayor of {} is {}.", "Who is the mayor of {}?", "The mayor is", _person),
            Fact("{} was founded in {}.", "When was {} founded?", "{} was founded in", YEAR),
            Fact("{} holds its fair in {}.", "When is the fair of {}?", "The fair is in", MONTHS),
        ),
    ),
    Kind(
        _machine,
        "The machine",
        (
            Fact("{} weighs {} kilograms.", "What does {} weigh?", "It weighs", _number(3, 4000)),
            Fact("{} is made of {}.", "What is {} made of?", "It is made of", METALS),
            Fact("{} was built in {}.", "Where was {} built?", "It was built in", LANDS),
            Fact("{} costs {} euros.", "What does {} cost?", "It costs", _number(40, 9000)),
            Fact("{} was designed by {}.", "Who designed {}?", "It was designed by", _person),
        ),
    ),
    Kind(
        _project,
        "The project",
        (
            Fact("{} is led by {}.", "Who leads {}?", "It is led by", _person),
            Fact("{} ends in {}.", "When does {} end?", "It ends in", MONTHS),
            Fact(
                "{} has the code {}.",
                "What is the code of {}?",
                "The code is",
                _number(1000, 99999),
            ),
            Fact("{} takes place in {}.", "Where does {} take place?", "It takes place in", LANDS),
            Fact("{} is about {}.", "What is {} about?", "It is about", GOODS),
        ),
    ),
)
