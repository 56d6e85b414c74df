"""Remembers what was seen lately, within a bound."""

from collections import OrderedDict


class Once:
    """The latest keys, up to a number of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[str, None] = OrderedDict()

    def first(self, key: str) -> bool:
        """Tell whether a key is new among the latest; it is remembered from now on."""
        new = key not in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return new
