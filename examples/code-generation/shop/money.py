"""Money of one currency, in whole cents, so that no sum is ever off by a rounding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Money:
    cents: int = 0

    def __add__(self, other: Money) -> Money:
        return Money(self.cents + other.cents)

    def __mul__(self, count: int) -> Money:
        return Money(self.cents * count)

    def percent(self, rate: int) -> Money:
        """`rate` percent of the sum, half a cent rounded up."""
        return Money((self.cents * rate + 50) // 100)

    def __str__(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02d} EUR"
