"""From a basket to an order that can be paid and sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from .basket import Basket
from .money import Money


class State(Enum):
    PLACED = "placed"
    PAID = "paid"
    SENT = "sent"


@dataclass(frozen=True)
class Order:
    number: int
    customer: str
    lines: tuple[tuple[str, int], ...]
    total: Money
    state: State = State.PLACED

    def paid(self, amount: Money) -> Order:
        if self.state is not State.PLACED:
            raise ValueError(f"order {self.number} is {self.state.value} already")
        if amount != self.total:
            raise ValueError(f"order {self.number} costs {self.total}, not {amount}")
        return replace(self, state=State.PAID)

    def sent(self) -> Order:
        if self.state is not State.PAID:
            raise ValueError(f"order {self.number} is not paid")
        return replace(self, state=State.SENT)


class Orders:
    def __init__(self) -> None:
        self._next = 1

    def place(self, customer: str, basket: Basket) -> Order:
        lines = tuple((product.number, count) for product, count in basket.lines())
        if not lines:
            raise ValueError("the basket is empty")
        order = Order(self._next, customer, lines, basket.total())
        self._next += 1
        return order
