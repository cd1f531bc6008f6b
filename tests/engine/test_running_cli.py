"""`pml` on the command line, over a tiny checkpoint: every command that runs it, exit codes and
JSON keys.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import write_checkpoint
from tiny_tokenizer import VOCABULARY
from trip import PROMPT, TOO_LONG, be_at, pml, told, write_documents

from minillm.checkpoint import load
from minillm.model import ForwardPlan, Run
from pml.engine import PromptCache


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `trip.pml`, `ask.pml` and the checkpoint `tiny`."""
    folder = tmp_path_factory.mktemp("home")
    write_checkpoint(folder / "tiny")
    write_documents(folder)
    return folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_at(home, monkeypatch)


ASK = ("trip.pml", "ask.pml", "--model", "tiny")


class TestRun:
    def test_it_answers_as_the_library_does(self, home: Path) -> None:
        done = pml("run", *ASK, "--max-tokens", 8)
        cache = PromptCache(load(home / "tiny"))
        cache.add_schema(home / "trip.pml")
        answer = cache.generate(PROMPT, max_tokens=8)
        assert (done.exit_code, done.stdout) == (0, answer.text + "\n")
        loading, encoding, summary = done.stderr.splitlines()
        assert loading.startswith("loading tiny: ") and loading.endswith("(an estimate)")
        states = answer.plan.states
        tokens = sum(len(state.tokens) for state in states)
        assert encoding.startswith(f"encoding {len(states)} states: {tokens} tokens, ")
        assert f"reused {answer.usage.cached_tokens} tokens" in summary

    def test_json(self) -> None:
        content = told("run", *ASK, "--max-tokens", 5)
        assert content.keys() == {
            "version", "text", "tokens", "finish_reason", "usage", "timings",
        }  # fmt: skip
        assert content["version"] == 1
        assert content["finish_reason"] in ("length", "stop")
        usage, timings = content["usage"], content["timings"]
        assert usage["prompt_tokens"] == usage["cached_tokens"] + usage["fresh_tokens"]
        assert usage["completion_tokens"] == len(content["tokens"]) <= 5
        assert usage["encoded_tokens"] > usage["cached_tokens"]  # placeholders are encoded too
        assert all(seconds > 0 for seconds in timings.values())

    def test_what_is_encoded_to_be_measured_is_told_too(self) -> None:
        done = pml("run", *ASK, "--max-tokens", 2, "--quality", "exact", "--json")
        usage = json.loads(done.stdout)["usage"]
        assert usage["recomputed_tokens"] > 0
        assert f" states: {usage['encoded_tokens']} tokens, " in done.stderr
        done = pml("explain", *ASK, "--quality", "exact")
        assert f" states: {usage['encoded_tokens']} tokens, " in done.stderr
        assert " hit " in done.stdout and " miss " not in done.stdout

    def test_a_seed_repeats_an_answer(self) -> None:
        draw = ("run", *ASK, "--max-tokens", 12, "--temperature", 2)
        first, again, other = (told(*draw, "--seed", seed)["tokens"] for seed in (1, 1, 2))
        assert first == again != other

    def test_a_prompt_from_stdin_or_as_text(self) -> None:
        named = told("run", *ASK, "--max-tokens", 4)["tokens"]
        text = told("run", "trip.pml", PROMPT, "--model", "tiny", "--max-tokens", 4)["tokens"]
        done = pml(
            "run", "trip.pml", "-", "--model", "tiny", "--max-tokens", 4, "--json", stdin=PROMPT
        )
        assert named == text == json.loads(done.stdout)["tokens"]


class TestChat:
    ARGUMENTS = ("chat", "trip.pml", "--model", "tiny", "--max-tokens", 6)

    def test_piped_lines_are_turns(self, home: Path) -> None:
        lines = ["Where to?", "", "<goa/><user>And there?</user>"]
        done = pml(*self.ARGUMENTS, stdin="\n".join(lines))
        cache = PromptCache(load(home / "tiny"))
        cache.add_schema(home / "trip.pml")
        chat = cache.chat("trip")
        turns = ["<user>Where to?</user>", lines[2]]
        answers = [chat.send(turn, max_tokens=6).text for turn in turns]
        assert (done.exit_code, done.stdout) == (0, "".join(f"{text}\n" for text in answers))
        *_, last = done.stderr.splitlines()
        assert last.startswith(f"so far: reused {chat.usage.cached_tokens} tokens, computed ")
        assert f"; {chat.plan.next_position} of 512 positions" in last

    def test_a_wrong_turn_ends_what_is_piped(self) -> None:
        done = pml(*self.ARGUMENTS, stdin="Where to?\n<gaa/>\nAnd then?\n")
        assert done.exit_code == 3
        assert done.stderr.splitlines()[-1].startswith("<turn 2>:1:1: ")

    def test_on_a_terminal_a_wrong_turn_is_told_and_does_not_count(self) -> None:
        here, there = pty.openpty()
        command = [sys.executable, "-c", "from pml.cli import main; main()"]
        command += [str(argument) for argument in self.ARGUMENTS]
        os.write(here, b"<gaa/>\nWhere to?\n%b\n\x04" % (b"sea " * 600))
        done = subprocess.run(command, stdin=there, capture_output=True, text=True, timeout=120)
        os.close(here)
        os.close(there)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("> ") == 4 and done.stdout.endswith("> \n")
        assert "did you mean 'goa'?" in done.stderr
        assert "<line>:1:1: the prompt reaches position " in done.stderr
        assert done.stderr.count("so far: ") == 1

    def test_a_fixed_schema_is_refused(self) -> None:
        done = pml(*self.ARGUMENTS, "--layout", "fixed", stdin="Where to?\n")
        assert done.exit_code == 3
        assert "has the layout 'fixed', in which nothing can" in done.stderr
        assert "a chat takes layout=" in done.stderr


def test_an_answer_ends_before_a_stop_string() -> None:
    whole = told("run", *ASK, "--max-tokens", 12)["text"]
    stop = whole[4:6]
    stopped = told("run", *ASK, "--max-tokens", 12, "--stop", stop, "--stop", "never")
    assert stopped["text"] == whole[: whole.index(stop)]
    assert stopped["finish_reason"] == "stop"


def oracle_of(explained: dict[str, Any], checkpoint: Path, **changes: str) -> torch.Tensor:
    """The last token's logits, from the printed plan alone: mask and positions into one forward.

    `changes` gives spans of one kind the sight of another, to show that the mask matters.
    """
    tokens, spans = explained["tokens"], explained["spans"]
    kinds = [changes.get(span["kind"], span["kind"]) for span in spans]
    mask = torch.eye(len(tokens), dtype=torch.bool)
    for i, query in enumerate(tokens):
        for j, key in enumerate(tokens):
            mine, other = query["span"], key["span"]
            seen = other == mine or other in spans[mine]["context"]
            if kinds[mine] == "fresh":
                seen = kinds[other] != "ghost"
            mask[i, j] |= seen and key["position"] < query["position"]
    model = load(checkpoint, dtype=torch.float64).transformer
    last = max(
        (i for i, token in enumerate(tokens) if spans[token["span"]]["kind"] != "ghost"),
        key=lambda i: tokens[i]["position"],
    )
    assert explained["next_position"] == tokens[last]["position"] + 1
    ids, positions = (torch.tensor([t[key] for t in tokens]) for key in ("id", "position"))
    run = Run(model.new_cache(), len(tokens), mask)
    logits: torch.Tensor = model(ids, positions, ForwardPlan([run], [last], explicit=True))
    return logits[0]


class TestContract:
    """What `pml explain` and `pml compare` print is read by programs."""

    def test_explain(self) -> None:
        content = told("explain", *ASK, "--dtype", "bfloat16")
        assert content.keys() == {
            "version", "schema", "layout", "attention", "model", "dtype", "spans", "tokens",
            "next_position",
        }  # fmt: skip
        assert (content["schema"], content["layout"]) == ("trip", "fixed")
        assert (content["model"], content["dtype"]) == ("tiny", "bfloat16")
        assert content["attention"] == "guaranteed"
        for index, span in enumerate(content["spans"]):
            assert span.keys() == {
                "index", "path", "kind", "start", "length", "context", "state",
                "context_kind", "moved", "tier", "encode_s", "reason", "bytes",
            }  # fmt: skip
            assert span["index"] == index
            state = {
                key: span[key] for key in ("state", "reason", "context_kind", "moved", "bytes")
            }
            if span["kind"] == "fresh":
                assert state == dict.fromkeys(state) | {"state": "none"}
            else:
                assert state.pop("bytes") == span["length"] * 2 * 2 * 2 * 8 * 2
                expected = {"state": "miss", "reason": "never encoded"}
                assert state == expected | {"context_kind": "guaranteed", "moved": 0}
            mine = [token for token in content["tokens"] if token["span"] == index]
            positions = list(range(span["start"], span["start"] + span["length"]))
            assert [token["position"] for token in mine] == positions
        kinds = {span["path"]: span["kind"] for span in content["spans"] if ":" in span["path"]}
        assert kinds == {"/when:month": "fresh"}  # the argument, after its placeholders
        assert sum(span["kind"] == "ghost" for span in content["spans"]) >= 1

    def test_compare(self) -> None:
        content = told("compare", *ASK, "--dtype", "bfloat16", "--max-tokens", 6, "--repeats", 2)
        assert content["version"] == 1
        assert content["full"].keys() >= {"ttft_s", "tokens", "text"}
        assert content["cached"].keys() >= {"ttft_s", "cached_tokens", "fresh_tokens", "text"}
        assert content["oracle"].keys() == {"max_abs_diff", "logit_range"}
        full, cached = content["full"], content["cached"]
        assert content["speedup"] == full["ttft_s"] / cached["ttft_s"] > 0
        assert full["tokens"] == cached["cached_tokens"] + cached["fresh_tokens"]
        assert cached["copied_tokens"] == cached["cached_tokens"]
        assert (content["dtype"], content["repeats"]) == ("bfloat16", 2)

    def test_map_of_a_prompt(self) -> None:
        asked = told("map", "trip.pml", "ask.pml", "--model", "tiny")["prompt"]
        explained = told("explain", *ASK)
        assert asked["next_position"] == explained["next_position"]
        for mine, theirs in zip(asked["spans"], explained["spans"], strict=True):
            assert mine == {key: theirs[key] for key in mine}
        lengths = dict.fromkeys(("cached", "fresh", "ghost"), 0)
        for span in asked["spans"]:
            lengths[span["kind"]] += span["length"]
        assert (asked["cached_tokens"], asked["fresh_tokens"]) == (
            lengths["cached"],
            lengths["fresh"],
        )

    @pytest.mark.parametrize("attention", ["guaranteed", "isolated"])
    @pytest.mark.parametrize(
        "prompt",
        [
            PROMPT,
            '<prompt schema="trip"><rome/> by train <user>How long?</user></prompt>',
            '<prompt schema="trip"><when/><goa/></prompt>',
        ],
    )
    def test_the_oracle_can_be_rebuilt_from_explain_alone(
        self, home: Path, tmp_path: Path, prompt: str, attention: str
    ) -> None:
        asked = ("trip.pml", prompt, "--model", "tiny", "--dtype", "float64")
        asked += ("--attention", attention)
        saved = tmp_path / "logits.safetensors"
        compared = told(
            "compare", *asked, "--repeats", 1, "--max-tokens", 1, "--save-logits", saved
        )
        explained = told("explain", *asked)
        assert explained["attention"] == attention
        logits = load_file(saved)
        truth = oracle_of(explained, home / "tiny")
        spread = float(truth.max() - truth.min())
        for name in ("cached", "oracle"):
            assert logits[name].shape == (VOCABULARY,)
            assert logits[name].dtype == torch.float32
            assert (logits[name] - truth).abs().max() < 1e-6 * spread
        assert compared["oracle"]["max_abs_diff"] < 1e-9 * spread
        assert compared["oracle"]["logit_range"] == pytest.approx(spread)
        if any(span["kind"] == "ghost" for span in explained["spans"]):
            wrong = oracle_of(explained, home / "tiny", ghost="cached")
            assert (wrong - truth).abs().max() > 1e-3 * spread


def test_explain_for_people() -> None:
    lines = pml("explain", *ASK).stdout.splitlines()
    assert lines[0].startswith("span  kind ") and lines[0].endswith("  why missing, where stored")
    assert lines[1].split()[:4] == ["0", "cached", "miss", "0"]
    assert lines[1].endswith("  itself only     never encoded")
    assert any(line.endswith("  all but ghosts") for line in lines)
    assert any(line.startswith("the whole prompt ") for line in lines)


def test_compare_for_people() -> None:
    done = pml("compare", *ASK, "--repeats", 1, "--max-tokens", 4)
    assert done.exit_code == 0
    assert "first token after" in done.stdout and "times sooner" in done.stdout
    assert "\nfull prefill" in done.stdout and " | cached" in done.stdout


def test_demo_hands_its_flags_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("pml.demo.run", lambda model, **flags: asked.append((model, flags)))
    assert pml("demo", "--model", "tiny", "--threads", 1).exit_code == 0
    assert asked == [(Path("tiny"), {"dtype": None, "threads": 1})]


class TestExitCodes:
    @pytest.mark.parametrize(
        ("arguments", "code", "line"),
        [
            (("run", "none.pml", "ask.pml", "--model", "tiny"), 1, "error: none.pml: No such"),
            (("run", "trip.pml", "none", "--model", "tiny"), 1, "error: none: No such file"),
            (
                ("run", "trip.pml", "ask.pml", "--model", "none"),
                1,
                "error: none: no such folder; `",
            ),
            (("run", "trip.pml", "ask.pml"), 2, "Missing option '--model'"),
            (("run", *ASK, "--max-tokens", "0"), 2, "Invalid value for '--max-tokens'"),
            (("run", *ASK, "--stop", ""), 2, "a stop text is empty, expected some text"),
            (("run", *ASK, "--layout", "loose"), 2, "Invalid value for '--layout'"),
            (("compare", *ASK, "--repeats", "0"), 2, "Invalid value for '--repeats'"),
            (("run", "trip.pml", "<prompt/>", "--model", "tiny"), 3, "<prompt>:1:1: "),
            (("run", "trip.pml", "", "--model", "tiny"), 3, "<prompt>:1:1: the document is empty"),
            (("run", "trip.pml", "ask.pml", "--model", "ask.pml"), 1, "ask.pml: not a folder; `"),
            (("run", "trip.pml", TOO_LONG, "--model", "tiny"), 3, "<prompt>:1:29: argument"),
            (("explain", "ask.pml", "ask.pml", "--model", "tiny"), 3, "ask.pml:1:1: found <prompt"),
        ],
    )
    def test_each_has_its_code(self, arguments: tuple[str, ...], code: int, line: str) -> None:
        done = pml(*arguments)
        assert (done.exit_code, done.stdout) == (code, "")
        lines = [text for text in done.stderr.splitlines() if not text.startswith("loading ")]
        assert line in "\n".join(lines)
        assert code == 2 or len(lines) == 1

    def test_no_gpu_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        done = pml("run", *ASK, "--device", "cuda")
        assert done.exit_code == 1
        assert done.stderr.splitlines()[1:] == [
            "error: there is no CUDA device here; take --device cpu"
        ]

    def test_logits_that_cannot_be_written(self) -> None:
        flags = ("--repeats", 1, "--max-tokens", 1, "--save-logits", "none/logits")
        done = pml("compare", *ASK, *flags)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == "error: none/logits: there is no folder none\n"


def test_verbose_logs_to_stderr() -> None:
    code = "from pml.cli import main; main()"
    command = [sys.executable, "-c", code, "run", *ASK, "--max-tokens", "1", "--verbose"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert b" pml: encoded /when: " in done.stderr
