"""Logs of prompts as applications send them, built from GSM8K, Banking77 and QMSum.

`Kinds(folder)` takes a folder with `gsm8k/*.jsonl`, `banking77/*.csv` and `qmsum/*.json`. Examples
and documents are shared between prompts; the questions of held-out prompts are in no logged one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from pml.discover import Turn

Request = tuple[Turn, ...]

DATA = Path(__file__).parent / "data" / "discover"

SOLVE = (
    "Solve the problem step by step. End with the answer alone, after ####.\n\n",
    "You are given problems of grade-school maths. Show your work, then write #### and a number.\n",
)
RULES = (
    "Answer questions about the meeting below from its transcript only. Say so if it does not tell."
    "\n\nTranscript:\n"
)
AGENTS = ("Ann Lee", "Bob", "Carla Diaz", "Dora van Dam", "Eve", "Fred Astaire", "Gus Ng", "Hal")


def label_rules(agent: str, labels: list[str]) -> str:
    return (
        f"You label the messages that customers of a bank send to {agent}, who will answer them. "
        f"The labels are {', '.join(labels)}. Reply with one label, nothing else."
    )


class Kinds:
    """Three kinds of prompts; `log` and `held_out` give them mixed, the same for the same seed."""

    def __init__(self, folder: Path = DATA) -> None:
        files = sorted((folder / "gsm8k").glob("*.jsonl"))
        lines = [line for path in files for line in path.read_bytes().splitlines()]
        self.problems = [json.loads(line) for line in lines]
        self.messages: list[dict[str, str]] = []
        for path in sorted((folder / "banking77").glob("*.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                self.messages += csv.DictReader(file)
        Random(0).shuffle(self.messages)
        self.labels = sorted({row["category"] for row in self.messages})[::10]
        meetings = sorted((folder / "qmsum").glob("*.json"))
        self.meetings = [json.loads(path.read_text()) for path in meetings]

    def log(self, size: int, seed: int = 0) -> list[Request]:
        return self._mixed(size, Random(seed), 0)

    def held_out(self, size: int, seed: int = 1) -> list[Request]:
        return self._mixed(size, Random(seed), 1)

    def _mixed(self, size: int, random: Random, half: int) -> list[Request]:
        kinds: list[Callable[[Random, int], Request]] = [self.maths, self.bank, self.meeting]
        requests = [kinds[number % 3](random, half) for number in range(size)]
        random.shuffle(requests)
        return requests

    def maths(self, random: Random, half: int) -> Request:
        """A plain prompt of 4 to 8 of 32 examples in any order, and a new problem."""
        shots = random.sample(self.problems[:32], random.randint(4, 8))
        question = random.choice(self.problems[32 + half :: 2])["question"]
        examples = "".join(f"Question: {s['question']}\nAnswer: {s['answer']}\n\n" for s in shots)
        return (Turn(None, f"{random.choice(SOLVE)}{examples}Question: {question}\nAnswer:"),)

    def bank(self, random: Random, half: int) -> Request:
        """A chat: rules with somebody's name, 12 to 16 of 40 examples, a new message."""
        shots = random.sample(self.messages[:40], random.randint(12, 16))
        text = random.choice(self.messages[40 + half :: 2])["text"]
        examples = "\n\n".join(f"Message: {s['text']}\nLabel: {s['category']}" for s in shots)
        rules = label_rules(random.choice(AGENTS), self.labels)
        return Turn("system", rules), Turn("user", f"{examples}\n\nMessage: {text}\nLabel:")

    def meeting(self, random: Random, half: int) -> Request:
        """A chat: a part of a meeting in the system's turn, a question, sometimes a further one."""
        meeting = random.choice(self.meetings)
        start, stop = random.choice(_spans(meeting["topic_list"]))
        transcript = "\n".join(
            f"{turn['speaker']}: {turn['content']}"
            for turn in meeting["meeting_transcripts"][start:stop]
        )
        asked = random.sample(meeting["specific_query_list"][half::2], 2)
        turns = [Turn("system", RULES + transcript), Turn("user", asked[0]["query"])]
        if random.random() < 0.3:
            turns += [Turn("assistant", asked[0]["answer"]), Turn("user", asked[1]["query"])]
        return tuple(turns)


def _spans(topics: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """The turns that speak of each topic."""
    spans = [span for topic in topics for span in topic["relevant_text_span"]]
    return [(int(first), int(last) + 1) for first, last in spans]


def as_line(request: Request) -> str:
    """The request as a line of a log."""
    if request[0].role is None:
        return json.dumps({"prompt": request[0].text}) + "\n"
    messages = [{"role": turn.role, "content": turn.text} for turn in request]
    return json.dumps({"messages": messages}) + "\n"
