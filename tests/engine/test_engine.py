"""The engine's manners: what it refuses, what it keeps, what one answer may do to another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from minillm.families import num_parameters
from pml import PMLError, PromptCache, PromptModule, PromptText, Schema, parse_schema
from pml.schemas import Changes
from pml.segment_source import Encoding

SCHEMA = """<schema name="s">
  <system>Be brief.
  <module name="a">Apples are <param name="colour" len="4" default="red"/>.</module>
  <module name="b">Bees hum.</module></system>
  <module name="never" cache="false">Computed each time.</module>
</schema>"""
ONE = '<prompt schema="s"><a colour="green"/><user>So?</user></prompt>'
OTHER = '<prompt schema="s"><b/><user>And now, what?</user></prompt>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(write_checkpoint(tmp_path_factory.mktemp("engine") / "tiny", max_positions=256))


@pytest.fixture
def cache(model: LoadedModel) -> PromptCache:
    cache = PromptCache(model)
    cache.add_schema(SCHEMA)
    return cache


def test_a_stale_stream_is_refused_and_leaves_the_newer_answer_alone(cache: PromptCache) -> None:
    alone = cache.generate(OTHER, max_tokens=12).tokens
    stale = cache.stream(ONE, max_tokens=12)
    next(stale)
    newer = cache.stream(OTHER, max_tokens=12)
    tokens = [next(newer).token]
    with pytest.raises(RuntimeError, match="another prompt was started"):
        next(stale)
    tokens += [delta.token for delta in newer if delta.token is not None]
    assert tuple(tokens) == alone


def test_two_threads_at_a_time_are_refused(cache: PromptCache) -> None:
    refused = list[BaseException | None]()
    with ThreadPoolExecutor(1) as other:
        found = cache.prefill(
            ONE, progress=lambda *_: refused.append(other.submit(cache.prefill, OTHER).exception())
        )
    assert refused and all("another thread is using" in str(one) for one in refused)
    assert torch.equal(found.logits, cache.prefill(ONE).logits)


def test_documents_come_from_files_and_as_bytes(cache: PromptCache, tmp_path: Path) -> None:
    path = tmp_path / "one.pml"
    path.write_text(ONE)
    cache.add_schema(SCHEMA.encode())
    answer = cache.generate(ONE, max_tokens=3)
    assert cache.generate(path, max_tokens=3).tokens == answer.tokens
    assert cache.batch(iter([path, OTHER]), max_tokens=3)[0].tokens == answer.tokens


def test_what_is_taken_for_something_else_is_one_line(cache: PromptCache) -> None:
    wrong: Any = "weights/tiny"
    with pytest.raises(TypeError, match=r"^model is a str, expected what minillm\.load gives$"):
        PromptCache(wrong)
    with pytest.raises(TypeError, match=r"^found one prompt, a str, expected a list of them$"):
        cache.batch(ONE)
    wrong = parse_schema(SCHEMA)
    with pytest.raises(TypeError, match=r"^found a Schema, expected PML text as str or bytes$"):
        cache.generate(wrong)


def test_a_stream_whose_buffer_was_forgotten_is_refused(cache: PromptCache) -> None:
    stream = cache.stream(ONE, max_tokens=4)
    next(stream)
    cache.forget_buffer()
    with pytest.raises(RuntimeError):
        next(stream)


@pytest.mark.parametrize("prompt", [ONE, '<prompt schema="s"><a colour="green"/><b/></prompt>'])
def test_a_prompt_that_comes_again_copies_nothing(cache: PromptCache, prompt: str) -> None:
    assert cache.prefill(prompt).copied_tokens > 0
    assert cache.prefill(prompt).copied_tokens == 0
    cache.forget_buffer()
    assert cache.prefill(prompt).copied_tokens > 0


def test_nothing_is_computed_before_the_arguments_are_right(cache: PromptCache) -> None:
    for call in (cache.generate, cache.stream):
        with pytest.raises(ValueError, match="max_tokens is 0"):
            call(ONE, max_tokens=0)
    assert not [*cache.store]


def test_a_schema_that_there_is_not(cache: PromptCache, model: LoadedModel) -> None:
    with pytest.raises(PMLError, match="no schema 'z'; expected 's'"):
        cache.encode_schema("z")
    with pytest.raises(PMLError, match="expected one that was given to add_schema; none was"):
        PromptCache(model).generate('<prompt schema="s">x</prompt>')


def test_encode_schema_leaves_out_what_no_prompt_can_use(cache: PromptCache) -> None:
    layout = cache.schemas["s"].layout
    cached = sum(len(s.tokens) for s in layout.spans if s.cached)
    assert cache.encode_schema("s").tokens == cached
    assert cache.prefill(ONE).usage.encoded_tokens == 0


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            '<schema name="s"><module name="m"><param name="p" len="300"/></module></schema>',
            "<schema>:1:35: parameter 'p' holds 300 tokens, the model's context 256; lower len",
        ),
        (
            '<schema name="s"><param name="p" len="1" default="far too many words"/></schema>',
            "<schema>:1:18: the default of parameter 'p' has",
        ),
    ],
)
def test_a_parameter_that_cannot_work_is_refused(
    cache: PromptCache, schema: str, message: str
) -> None:
    with pytest.raises(PMLError) as error:
        cache.add_schema(schema)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"attention": "bogus"}, ValueError, "attention is 'bogus', expected"),
        ({"layout": "pack"}, ValueError, "layout is 'pack', expected"),
        ({"fresh_anonymous": -1}, ValueError, "fresh_anonymous is -1, expected"),
        ({"namespace": 5}, TypeError, "namespace is a int, expected a str"),
    ],
)
def test_options_that_there_are_not(
    model: LoadedModel, options: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        PromptCache(model, **options)


def test_what_is_no_sampling_and_no_number(cache: PromptCache) -> None:
    with pytest.raises(TypeError, match="sampling is a dict, expected a Sampling"):
        cache.generate(ONE, sampling={"temperature": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_tokens is a str, expected an int"):
        cache.generate(ONE, max_tokens="5")  # type: ignore[arg-type]


def test_a_blank_that_does_not_fit_is_called_one(cache: PromptCache) -> None:
    modules = '<module name="a">A</module><module name="b">B</module>'
    cache.add_schema(f'<schema name="s">{modules}</schema>')
    with pytest.raises(PMLError, match="it is the blank between two tags: put them together"):
        cache.plan('<prompt schema="s"><a/> <b/></prompt>')


def test_the_context_is_used_to_its_last_position(cache: PromptCache) -> None:
    room = 256 - cache.plan('<prompt schema="s"/>').next_position
    fits, text = room, "x y " * 200
    tokens = cache.model.tokenizer.encode(text)
    while len(cache.model.tokenizer.encode(text)) > fits:
        text = text[:-1]
    assert tokens
    answer = cache.generate(f'<prompt schema="s">{text.strip()}</prompt>', max_tokens=50)
    assert answer.finish_reason in ("context", "stop")
    with pytest.raises(PMLError, match="the model's context ends at 255"):
        cache.plan(f'<prompt schema="s">{"x y " * 200}</prompt>')


def test_a_schema_from_a_file_and_from_text_are_the_same(
    cache: PromptCache, model: LoadedModel, tmp_path: Path
) -> None:
    path = tmp_path / "s.pml"
    path.write_text(SCHEMA)
    other = PromptCache(model)
    other.add_schema(path)
    assert other.plan(ONE) == cache.plan(ONE)


def test_of_an_edited_schema_only_what_changed_is_encoded_again(model: LoadedModel) -> None:
    cache = PromptCache(model, layout="packed")
    cache.add_schema(SCHEMA)
    everything = ("/", "/a", "/a:colour", "/b")
    assert cache.changes("s") == Changes((), (), everything, ())
    first = cache.encode_schema("s")
    cache.add_schema(SCHEMA)
    assert cache.changes("s") == Changes(everything, (), (), ())
    assert cache.encode_schema("s") == Encoding((), len(first.encoded), 0.0)

    cache.add_schema(SCHEMA.replace("Bees hum.", "Bees buzz about.").replace('"a"', '"apples"'))
    named = Changes(("/",), ("/b",), ("/apples", "/apples:colour"), ("/a", "/a:colour"))
    assert cache.changes("s") == named
    # A name is no part of a state: the apples are what they were.
    assert [state.path for state in cache.encode_schema("s").encoded] == ["/b"]


def test_in_the_layout_fixed_what_stands_elsewhere_is_encoded_again(cache: PromptCache) -> None:
    cache.encode_schema("s")
    cache.add_schema(SCHEMA.replace("Bees hum.", "Bees buzz about."))
    assert cache.changes("s").changed == ("/", "/b")
    assert {state.path for state in cache.encode_schema("s").encoded} == {"/", "/b"}


def test_a_schema_built_in_code_is_held_to_the_rules(cache: PromptCache) -> None:
    built = parse_schema(SCHEMA)
    assert cache.add_schema(built) is built
    assert not cache.changes("s").changed
    twice = PromptModule("m", children=(PromptText("Twice"),))
    with pytest.raises(PMLError, match="'m'"):
        cache.add_schema(Schema("t", children=(twice, twice)))
    assert "t" not in cache.schemas


def test_what_a_notebook_shows_is_a_line_each(model: LoadedModel) -> None:
    cache = PromptCache(model)
    assert repr(cache) == "<PromptCache over 'tiny': schemas none yet>"
    cache.add_schema(SCHEMA)
    assert repr(cache) == "<PromptCache over 'tiny': schemas 's'>"
    size = num_parameters(model.config)
    assert repr(model) == f"<LoadedModel 'tiny': llama, {size:,} parameters, float32 on cpu>"
    answer = cache.generate(ONE, max_tokens=100)
    usage, timings, text = answer.usage, answer.timings, repr(answer)
    assert text.startswith("<Completion '") and "…" in text and "\n" not in text
    assert text.endswith(
        f"': {len(answer.tokens)} tokens, ended by {answer.finish_reason}; "
        f"reused {usage.cached_tokens}, computed {usage.fresh_tokens}; "
        f"first token after {timings.ttft:.3g} s>"
    )
    assert repr(timings).startswith("Timings(ttft=") and len(repr(timings)) < 60
    encoding = cache.encode_schema("s")
    states = len(encoding.encoded)
    seconds = f"{encoding.seconds:.3g}"
    assert repr(encoding) == (
        f"<Encoding: {states} states, {encoding.tokens} tokens in {seconds} s; "
        f"{encoding.kept} states kept>"
    )
    assert len(repr(cache.prefill(ONE))) < 300


def test_a_schema_is_named(cache: PromptCache) -> None:
    with pytest.raises(PMLError, match="no schema 'x'; expected 's'"):
        cache.changes("x")
    wrong: Any = parse_schema(SCHEMA)
    with pytest.raises(TypeError, match=r"^found a Schema, expected a schema's name$"):
        cache.chat(wrong)
