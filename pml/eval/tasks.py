"""The tasks: data files to items. Two come with the package, the others are read from a folder.

records        five records of invented people, one asked (scripts/make_records.py)
tiny-facts     invented facts in one document or in two, for the small trained models
nq             Natural Questions: one gold passage among those of other questions
hotpot         HotpotQA: two documents that are needed, among others
xquad          one article of SQuAD, a paragraph a document
qmsum          a meeting, a topic a document (QMSum)
kv             one of many random key-value pairs
banking77      messages and their intents, an intent a document
FILE.jsonl     your own: {"documents": ["…", "…"], "question": "…", "answers": ["…"]} a line
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from minillm.errors import shown
from pml.eval.items import Form, Item
from pml.eval.score import Score, exact_match, rouge_l, token_f1

BUILT_IN = Path(__file__).parent / "data"
DOCUMENTS = "Here are some documents, and a question about them.\n"


@dataclass(frozen=True)
class Task:
    """`documents` is how many an item has where nobody says otherwise; an answer ends before one
    of the texts `stop`. The items of `read(folder)` come in a settled order."""

    name: str
    read: Callable[[Path, int], Iterator[Item]]
    file: str
    form: Form
    score: Score
    documents: int
    max_tokens: int
    stop: tuple[str, ...] = ("\n",)

    @property
    def needs_data(self) -> bool:
        """Whether its questions are neither the package's nor in a file that is named."""
        return self.read not in (_built_in, _own)

    def items(
        self, folder: Path | None, documents: int | None, left_out: int, count: int | None
    ) -> list[Item]:
        """The first `count` items, with `documents` documents each and `left_out` more, of the
        next item that has others. Raises `ValueError` where the data's folder is not named."""
        if folder is None and self.needs_data:
            raise ValueError(f"task {self.name!r} needs the folder of its data: --data or PML_DATA")
        path = (folder if folder and self.needs_data else BUILT_IN) / self.file
        number = self.documents if documents is None else documents
        wanted = None if count is None else count + 64
        found = [i.limited(number) for i in islice(self.read(path, number), wanted)]
        return [
            replace(item, left_out=_others(item, found[at + 1 :] or found, left_out))
            for at, item in enumerate(found[:count])
        ]


def _others(item: Item, following: list[Item], count: int) -> tuple[str, ...]:
    other = next((o for o in following if not set(o.documents) & set(item.documents)), None)
    return other.documents[:count] if other else ()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _built_in(path: Path, documents: int) -> Iterator[Item]:
    for line in _lines(path):
        parts = (line["id"], tuple(line["documents"]), tuple(line["needed"]), line["question"])
        yield Item(*parts, (line["answer"],), line.get("lead", ""))


def own_task(path: Path) -> Task:
    """The questions of a file of lines like the one above; a score is the token F1."""
    return Task(path.stem, _own, str(path.resolve()), Form(DOCUMENTS), token_f1, 99, 24)


def _own(path: Path, documents: int) -> Iterator[Item]:
    """Raises `ValueError`, with its place, for a line that is no question."""
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, start=1):
            try:
                line = json.loads(text)
                texts, answers = ([str(t) for t in line[name]] for name in ("documents", "answers"))
                if not texts or not answers or isinstance(line["documents"], str):
                    raise ValueError
                known_by = hashlib.sha256(text.encode()).hexdigest()[:16]  # changed words, new name
                item = Item(known_by, tuple(texts), (), str(line["question"]), tuple(answers))
            except (ValueError, TypeError, KeyError):
                expected = '{"documents": ["…"], "question": "…", "answers": ["…"]}'
                found = f"found {shown(text.strip())}, expected {expected}"
                raise ValueError(f"{path}:{number}: {found}") from None
            yield item


def _nq(path: Path, documents: int) -> Iterator[Item]:
    """The gold passage stands first, second, … in turn; no other passage holds an answer."""
    lines = [*_lines(path)]
    for number, line in enumerate(lines):
        others: list[str] = []
        for other in (lines[(number + step) % len(lines)] for step in range(1, len(lines))):
            if len(others) == documents - 1:
                break
            text = _titled(other)
            if not any(answer.lower() in text.lower() for answer in line["answers"]):
                others.append(text)
        at = number % documents
        texts = (*others[:at], _titled(line), *others[at:])
        yield Item(f"nq-{line['id']}", texts, (at,), line["question"], tuple(line["answers"]))


def _hotpot(path: Path, documents: int) -> Iterator[Item]:
    for line in _lines(path):
        texts = tuple(_titled(document) for document in line["docs"])
        needed = tuple(n for n, document in enumerate(line["docs"]) if document["gold"])
        yield Item(line["id"], texts, needed, line["question"], tuple(line["answers"]))


def _xquad(path: Path, documents: int) -> Iterator[Item]:
    """Two questions of each article, then two more of each, and so on."""
    lines = [*_lines(path)]
    for first in range(0, max(len(line["qas"]) for line in lines), 2):
        for line in lines:
            for number, asked in enumerate(line["qas"][first : first + 2], start=first):
                yield Item(
                    f"{line['title']}-{number}",
                    tuple(line["paragraphs"]),
                    (asked["paragraph"],),
                    asked["question"],
                    tuple(asked["answers"]),
                )


def _qmsum(folder: Path, documents: int) -> Iterator[Item]:
    """A specific query needs the topics whose turns it names."""
    for path in sorted(folder.glob("*.json")):
        meeting = json.loads(path.read_text(encoding="utf-8"))
        turns = [f"{t['speaker']}: {t['content']}" for t in meeting["meeting_transcripts"]]
        topics = [_ranges(topic) for topic in meeting["topic_list"]]
        texts = tuple(
            "\n".join(line for r in ranges for line in turns[r.start : r.stop]) for ranges in topics
        )
        for number, query in enumerate(meeting["specific_query_list"]):
            asked = {turn for r in _ranges(query) for turn in r}
            needed = tuple(n for n, rs in enumerate(topics) if any(asked & {*r} for r in rs))
            yield Item(f"{path.stem}-{number}", texts, needed, query["query"], (query["answer"],))


def _ranges(entry: dict[str, Any]) -> list[range]:
    spans = entry["relevant_text_span"]
    return [range(int(first), int(last) + 1) for first, last in spans]


def _kv(path: Path, documents: int) -> Iterator[Item]:
    for number, line in enumerate(_lines(path)):
        pairs = line["ordered_kv_records"]
        asked = next(n for n, (key, _) in enumerate(pairs) if key == line["key"])
        texts = tuple(f"{key} is {value}." for key, value in pairs)
        question = f"What is {line['key']}?"
        yield Item(f"kv-{number}", texts, (asked,), question, (line["value"],), f"{line['key']} is")


def _banking77(path: Path, documents: int) -> Iterator[Item]:
    """Five messages an intent, from the training part; the questions are from the test part."""
    examples: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            examples[row["category"]].append(" ".join(row["text"].split()))
    intents = [*examples][:: max(1, len(examples) // documents)][:documents]
    texts = tuple(
        "\n".join(f"Question: {text}\nAnswer: {_label(intent)}" for text in examples[intent][:5])
        for intent in intents
    )
    with path.with_name("test.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in intents]
    by_intent = [[row for row in rows if row["category"] == intent] for intent in intents]
    for number in range(max(map(len, by_intent))):
        for at, group in enumerate(by_intent):
            if number < len(group):
                row = group[number]
                text = " ".join(row["text"].split())
                yield Item(
                    f"banking77-{at}-{number}", texts, (at,), text, (_label(row["category"]),)
                )


def _label(intent: str) -> str:
    return intent.replace("_", " ").lower()


def _titled(document: dict[str, Any]) -> str:
    return f"{document['title']}: {document['text']}"


TASKS = {
    task.name: task
    for task in (
        Task(
            "records",
            _built_in,
            "records.jsonl",
            Form("Here are records, and a question about one of them.\n"),
            exact_match,
            5,
            4,
            ("\n", "."),
        ),
        Task("tiny-facts", _built_in, "tiny-facts.jsonl", Form("", ""), exact_match, 99, 8),
        Task(
            "nq",
            _nq,
            "nq_gold_passages/nq_gold_passages_800.jsonl",
            Form(DOCUMENTS),
            token_f1,
            3,
            12,
        ),
        Task(
            "hotpot",
            _hotpot,
            "hotpot_multidoc/hotpot_10docs.jsonl",
            Form(DOCUMENTS),
            token_f1,
            4,
            12,
        ),
        Task("xquad", _xquad, "xquad_en/xquad_articles.jsonl", Form(DOCUMENTS), token_f1, 5, 12),
        Task(
            "qmsum",
            _qmsum,
            "qmsum",
            Form("Here are parts of a meeting, and a question about it.\n"),
            rouge_l,
            2,
            64,
        ),
        Task(
            "kv",
            _kv,
            "kv_retrieval/kv75_first40.jsonl",
            Form("Here are keys and their values.\n"),
            exact_match,
            10,
            40,
            ("\n", "."),
        ),
        Task(
            "banking77",
            _banking77,
            "banking77/train.csv",
            Form("Here are messages of a bank's customers, and what they are about.\n"),
            exact_match,
            6,
            10,
        ),
    )
}
