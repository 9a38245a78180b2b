"""Memos: hosts, clients and user agents repeat, and what is known of one need not be found out again.

A memo is bounded twice, in entries and in the length of a key: a client can send any number of headers of 64 KB.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

ENTRIES: Final = 8192
"""An office sees a few thousand hosts and user agents in a day."""
LONGEST: Final = 512
"""Characters of a key. Host names have at most 253; nearly all user agents stay below 300."""

_Key = TypeVar("_Key", str, bytes)
_Value = TypeVar("_Value")


def memoised(function: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
    """Returns the same function with a memo in front of it."""
    remembered = lru_cache(ENTRIES)(function)

    def look_up(key: _Key) -> _Value:
        return remembered(key) if len(key) <= LONGEST else function(key)

    return look_up
