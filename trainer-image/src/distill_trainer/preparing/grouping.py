"""Names the group of each record, so that nothing that belongs together parts over splits."""

from collections.abc import Sequence

from distill_trainer.preparing import splits
from distill_trainer.preparing.near import loose


def groups_of(named: Sequence[str | None], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Name each record's group: the data's own, else that of all records that share a text.

    pairs: normalised query and document. Texts are compared by their words alone, so that a change
    of case, spaces or marks does not part two records.
    """
    known: dict[tuple[int, str], int] = {}
    names: dict[int, str] = {}
    ids: list[tuple[int, int]] = []
    for pair in pairs:
        places = [
            known.setdefault((side, loose(text)), len(known)) for side, text in enumerate(pair)
        ]
        for place, text in zip(places, pair, strict=True):
            names.setdefault(place, text)
        ids.append((places[0], places[1]))
    roots = splits.connected(ids)
    return [
        f"group:{group}" if group is not None else f"text:{names[root]}"
        for group, root in zip(named, roots, strict=True)
    ]
