"""How long a very large schema takes, beside the limits that the language sets itself.

    python scripts/bench_language.py --model weights/smollm2-135m-instruct [--modules 20000]

A schema of 2 MB is parsed and laid out, tokenising included; then prompts are resolved against it.
Medians after a warm-up. Run it alone.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from minillm.tokenizer import Tokenizer, load_tokenizer
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import parse_prompt
from pml.schema import parse_schema

STORY = Path(__file__).parent.parent / "tests" / "parity" / "texts" / "a_scandal_in_bohemia.txt"
MAX_POSITIONS = 8192
LAY_OUT_SECONDS, RESOLVE_SECONDS = 3.0, 0.005


def big_schema(modules: int, layout: str) -> str:
    """A schema of about a hundred bytes a module, most of them stretches of a story."""
    rng = random.Random(0)
    words = STORY.read_text(encoding="utf-8").replace("&", "and").replace("<", "").split()
    starts = (rng.randrange(len(words) - 14) for _ in range(modules))
    texts = (" ".join(words[start : start + 14]) for start in starts)
    inner = "\n".join(f'<module name="m{i}">{text}</module>' for i, text in enumerate(texts))
    return f'<schema name="big" layout="{layout}"><system>Answer.</system>\n{inner}\n</schema>'


def laid_out(text: str, tokenizer: Tokenizer) -> Planner:
    """`fixed` ends behind the context of any model: it is planned in a larger one."""
    return Planner.of(parse_schema(text), tokenizer, MAX_POSITIONS * 1000)


def resolved(planner: Planner, names: Sequence[int]) -> PromptPlan:
    imports = "".join(f"<m{name}/>" for name in names)
    prompt = f'<prompt schema="big">{imports}<user>What of that?</user></prompt>'
    return planner.plan(parse_prompt(prompt))


def median(run: Callable[[], object], repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--modules", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    flags = parser.parse_args()
    tokenizer = load_tokenizer(flags.model)
    names = random.Random(1).sample(range(flags.modules), 5)
    print("layout   what                                         seconds     limit   ratio")
    for layout in ("packed", "fixed"):
        text = big_schema(flags.modules, layout)
        lay_out = partial(laid_out, text, tokenizer)
        resolve = partial(resolved, lay_out(), names)
        what = f"parse and lay out {len(text) / 1e6:.1f} MB, {flags.modules:,} modules"
        for label, run, limit in (
            (what, lay_out, LAY_OUT_SECONDS),
            ("resolve a prompt", resolve, RESOLVE_SECONDS),
        ):
            seconds = median(run, flags.repeats)
            print(f"{layout:<8} {label:<44} {seconds:8.4f}  {limit:8.3f}  {seconds / limit:6.2f}")


if __name__ == "__main__":
    main()
