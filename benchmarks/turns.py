"""Whose turn it is: what is compared is measured side by side, and the order turns from round to round."""

from __future__ import annotations

from collections.abc import Iterator


def in_turn(count: int, rounds: int) -> Iterator[tuple[int, int]]:
    """(round, position) of each measurement of `count` things: forwards, backwards, forwards, ..."""
    for number in range(rounds):
        order = range(count) if number % 2 == 0 else reversed(range(count))
        yield from ((number, position) for position in order)
