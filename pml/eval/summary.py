"""Results to a table: means, and how sure they are.

An interval holds 95 % of the means of 2,000 samples of the items, drawn with replacement
(bootstrap), whole sets of documents at a time where there are at least ten; that of a loss is of
the difference to full prefill on the same items (paired). The seed is fixed, so a table depends on
its results only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from pml.eval.items import Item
from pml.eval.modes import FULL, PLAIN
from pml.eval.plot import Plot, Point
from pml.eval.question import Result

SAMPLES, SEED, SETS = 2000, 0, 10


@dataclass(frozen=True)
class Estimate:
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One mode over all items. `gain` is its score less full prefill's; `computed` the part of the
    prompt's tokens that it computes; `speedup` how many times sooner the first token comes than by
    full prefill, the median over the items: the only column that differs from run to run."""

    mode: str
    items: int
    score: Estimate
    gain: Estimate
    agreement: Estimate
    kl: Estimate
    log_likelihood: Estimate
    computed: float
    speedup: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, row: dict[str, Any]) -> Row:
        """What `as_json` gave."""
        return cls(**with_estimates(row))


def summarise(
    items: Sequence[Item], modes: Sequence[str], results: dict[tuple[str, str], Result]
) -> list[Row]:
    """A row for each mode, over the items that have been asked in all of them."""
    asked = [item for item in items if all((item.id, mode) in results for mode in (FULL, *modes))]
    if not asked:
        return []
    draws = _draws([item.documents for item in asked])
    full = [results[item.id, FULL] for item in asked]
    return [_row(mode, [results[item.id, mode] for item in asked], full, draws) for mode in modes]


def _row(
    mode: str, found: Sequence[Result], full: Sequence[Result], draws: npt.NDArray[np.float64]
) -> Row:
    pairs = list(zip(found, full, strict=True))
    return Row(
        mode,
        len(found),
        estimate([result.score for result in found], draws),
        estimate([result.score - other.score for result, other in pairs], draws),
        estimate([float(result.agrees) for result in found], draws),
        estimate([result.kl for result in found], draws),
        estimate([result.log_likelihood for result in found], draws),
        round(sum(r.computed for r in found) / sum(r.tokens for r in found), 4),
        round(median(other.ttft / result.ttft for result, other in pairs), 2),
    )


def estimate(values: Sequence[float], draws: npt.NDArray[np.float64] | None = None) -> Estimate:
    """The mean and its interval, from samples `draws` or of single values."""
    numbers = np.array(values, dtype=np.float64)
    drawn = draw(range(len(numbers))) if draws is None else draws
    low, high = np.percentile(drawn @ numbers / drawn.sum(axis=1), [2.5, 97.5])
    return Estimate(*(float(f"{x:.4g}") for x in (numbers.mean(), low, high)))


def draw(groups: Sequence[int]) -> npt.NDArray[np.float64]:
    """How often each item is drawn in each sample: (SAMPLES, items). The items of a group, which
    are numbered from 0 on, are drawn together."""
    count = max(groups) + 1
    random = np.random.default_rng(SEED)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=SAMPLES)
    draws: npt.NDArray[np.float64] = drawn[:, list(groups)].astype(np.float64)
    return draws


def _draws(sets: Sequence[tuple[str, ...]]) -> npt.NDArray[np.float64]:
    numbers = {documents: number for number, documents in enumerate(dict.fromkeys(sets))}
    if len(numbers) < SETS:
        return draw(range(len(sets)))
    return draw([numbers[documents] for documents in sets])


def with_estimates(row: dict[str, Any]) -> dict[str, Any]:
    return {k: Estimate(**v) if isinstance(v, dict) else v for k, v in row.items()}


HEAD = (
    "mode",
    "questions",
    "score",
    "less full's",
    "agrees",
    "KL, nats",
    "log p of the right answer",
    "computed",
    "times sooner",
)


def cells(row: Row) -> tuple[str, ...]:
    """As a table shows them; percents of scores, intervals in brackets."""
    likely = row.log_likelihood
    return (
        row.mode,
        f"{row.items}",
        _percent(row.score),
        "" if row.mode == FULL else _percent(row.gain, sign="+"),
        f"{row.agreement.mean:.0%}",
        f"{row.kl.mean:.3f} [{row.kl.low:.3f}, {row.kl.high:.3f}]",
        f"{likely.mean:.2f} [{likely.low:.2f}, {likely.high:.2f}]",
        f"{row.computed:.0%}",
        f"{row.speedup:.1f}",
    )


def drawn(title: str, rows: Sequence[Row]) -> str:
    """Quality against speed, as SVG: plain modes in one colour, levers in another."""
    plain = {mode.name for mode in PLAIN}
    points = [
        Point(r.mode, r.speedup, r.score.mean, r.score.low, r.score.high, r.mode not in plain)
        for r in rows
    ]
    axis = "first token, times sooner than by full prefill"
    return Plot(title, axis, points, percent=True).svg()


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _percent(estimate: Estimate, sign: str = "") -> str:
    mean, low, high = (f"{100 * x:{sign}.0f}" for x in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"
