"""The task `records`: five short records of invented people, and a question about one of them.

    python scripts/make_records.py > pml/eval/data/records.jsonl

40 sets of records, five questions each; the same for the same seed.
"""

from __future__ import annotations

import json
import random

WORDS = {
    "first names": "Anna Boris Clara David Elena Frank Greta Hugo Irene Jonas Karin Leon Marta "
    "Nils Olga Peter Rosa Simon Tessa Victor",
    "last names": "Almeida Brandt Castell Dorsey Eklund Farrow Greene Hollis Jansen Keller Lowell "
    "Mercer Novak Osborn Petrov Ramsey Sutter Tanner",
    "jobs": "baker nurse pilot carpenter teacher lawyer farmer dentist tailor welder plumber "
    "librarian",
    "cities": "Lisbon Oslo Vienna Dublin Prague Madrid Athens Warsaw Geneva Turin Bergen Porto",
    "colours": "red blue green yellow purple orange white black silver brown",
    "animals": "cat dog parrot rabbit hamster tortoise horse goat",
}
FACTS = (
    ("{} works as a {}.", "What is the job of {}?", "{} works as a"),
    ("{} comes from {}.", "Which city does {} come from?", "{} comes from"),
    ("The office of {} is room {}.", "Which room is the office of {}?", "It is room"),
    ("The car of {} is {}.", "What is the colour of the car of {}?", "The car is"),
    ("{} keeps a {}.", "Which animal does {} keep?", "{} keeps a"),
)
SETS, RECORDS = 40, 5


def main() -> None:
    chance = random.Random(20261124)
    for number in range(SETS):
        drawn = [
            (first, last, job, city, chance.randint(100, 999), colour, animal)
            for first, last, job, city, colour, animal in zip(
                *(chance.sample(words.split(), RECORDS) for words in WORDS.values()), strict=True
            )
        ]
        people = [(f"{first} {last}", list(map(str, facts))) for first, last, *facts in drawn]
        documents = [
            " ".join(
                form.format(name, value) for (form, *_), value in zip(FACTS, values, strict=True)
            )
            for name, values in people
        ]
        asked = chance.sample(range(RECORDS), RECORDS)
        for fact, person in enumerate(asked):
            name, values = people[person]
            _, question, lead = FACTS[fact]
            item = {
                "id": f"records-{number}-{fact}",
                "documents": documents,
                "needed": [person],
                "question": question.format(name),
                "lead": lead.format(name),
                "answer": values[fact],
            }
            print(json.dumps(item, ensure_ascii=False))


if __name__ == "__main__":
    main()
