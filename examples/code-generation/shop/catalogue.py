"""What the shop sells."""

from __future__ import annotations

from dataclasses import dataclass

from .money import Money


@dataclass(frozen=True)
class Product:
    number: str
    name: str
    price: Money
    vat_rate: int = 19


class UnknownProduct(KeyError):
    """There is no product of that number."""


class Catalogue:
    def __init__(self, products: list[Product]) -> None:
        self._products = {product.number: product for product in products}

    def find(self, number: str) -> Product:
        if number not in self._products:
            raise UnknownProduct(number)
        return self._products[number]

    def search(self, words: str) -> list[Product]:
        """The products whose names hold all the words, cheapest first."""
        wanted = words.lower().split()
        found = [p for p in self._products.values() if all(w in p.name.lower() for w in wanted)]
        return sorted(found, key=lambda product: product.price)
