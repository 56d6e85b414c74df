"""Divides records by group, so that nothing of the test is seen in training."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from distill_api.data import Splits

from distill_trainer.preparing.near import loose

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
ORDER: Final = (TRAIN, VALIDATION, TEST)


def assign(group: str, splits: Splits) -> str:
    """Return the split of a group, by a hash of its name alone.

    Neither seed nor other groups matter: when the data grows no record moves to another split.
    """
    digest = hashlib.blake2b(group.encode(), digest_size=8).digest()
    place = int.from_bytes(digest) % 100
    if place < splits.test:
        return TEST
    return VALIDATION if place < splits.test + splits.validation else TRAIN


def connected(pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each pair the smallest id of the component that its two ids belong to.

    pairs: query and document ids, which do not overlap. Records that share a query or a document
    are then in one group.
    """
    listed = list(pairs)
    parent: dict[int, int] = {}

    def find(item: int) -> int:
        root = item
        while parent.setdefault(root, root) != root:
            root = parent[root]
        while parent[item] != root:
            parent[item], item = root, parent[item]
        return root

    for query, document in listed:
        low, high = sorted((find(query), find(document)))
        parent[high] = low
    return [find(query) for query, _ in listed]


def leaks(rows: Sequence[tuple[str, str]], splits: Sequence[str]) -> list[bool]:
    """Tell for each record whether its query or document occurs in a split that goes before.

    rows: normalised query and document, compared by their words alone. Groups that the data names
    may share texts; the test keeps them, then validation.
    """
    rows = [(loose(query), loose(document)) for query, document in rows]
    rank = {TEST: 0, VALIDATION: 1, TRAIN: 2}
    first: dict[tuple[int, str], int] = {}
    for row, split in zip(rows, splits, strict=True):
        for side, text in enumerate(row):
            first[side, text] = min(first.get((side, text), rank[split]), rank[split])
    return [
        any(first[side, text] < rank[split] for side, text in enumerate(row))
        for row, split in zip(rows, splits, strict=True)
    ]
