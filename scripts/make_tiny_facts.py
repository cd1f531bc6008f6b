"""The task `tiny-facts`: held-out questions for the tiny models, of each kind as many.

    python scripts/make_tiny_facts.py > pml/eval/data/tiny-facts.jsonl

Four people and one question a line, the two kinds in turn; the same for the same seed.
"""

from __future__ import annotations

import json
from itertools import islice

from tiny.facts import KINDS, samples

SEED, PEOPLE, EACH = 20261124, 4, 200


def main() -> None:
    for number, sample in enumerate(islice(samples(SEED, PEOPLE, held_out=True), EACH)):
        for kind in KINDS:
            asked = next(question for question in sample.questions if question.kind == kind)
            item = {
                "id": f"{kind}-{number}",
                "kind": kind,
                "documents": sample.documents,
                "needed": asked.needed,
                "question": asked.text,
                "answer": asked.answer,
            }
            print(json.dumps(item))


if __name__ == "__main__":
    main()
