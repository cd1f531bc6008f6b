"""What a customer is about to buy."""

from __future__ import annotations

from .catalogue import Catalogue, Product
from .money import Money


class Basket:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._counts: dict[str, int] = {}

    def add(self, number: str, count: int = 1) -> None:
        if count < 1:
            raise ValueError("the count must be at least 1")
        self._catalogue.find(number)
        self._counts[number] = self._counts.get(number, 0) + count

    def remove(self, number: str) -> None:
        self._counts.pop(number, None)

    def lines(self) -> list[tuple[Product, int]]:
        return [(self._catalogue.find(number), count) for number, count in self._counts.items()]

    def total(self) -> Money:
        return sum((product.price * count for product, count in self.lines()), Money())

    def vat(self) -> Money:
        """The tax that is contained in the total."""
        taxes = (p.price.percent(p.vat_rate) * count for p, count in self.lines())
        return sum(taxes, Money())
