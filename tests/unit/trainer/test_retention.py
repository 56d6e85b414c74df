"""Which older students go: a table of rules."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from distill_api.targets import Retention
from distill_trainer.publishing import retention
from distill_trainer.publishing.retention import Occasion, Version

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def digest(days: int) -> str:
    return "sha256:" + f"{days:02d}" * 32


VERSIONS = [Version(digest(days), NOW - timedelta(days=days)) for days in (0, 1, 5, 40, 90)]

CASES: list[tuple[str, dict[str, Any], int, tuple[int, ...]]] = [
    ("the last one only", {"keepLast": 1}, 0, (90, 40, 5, 1)),
    ("the last three", {"keepLast": 3}, 0, (90, 40)),
    ("more than there are", {"keepLast": 9}, 0, ()),
    ("a month", {"keepDays": 30}, 0, (90, 40)),
    ("what either rule keeps stays", {"keepLast": 4, "keepDays": 1}, 0, (90,)),
    ("named ones stay", {"keepLast": 1, "keepDigests": [digest(40)]}, 0, (90, 5, 1)),
    ("an old one that was published again is the newest", {"keepLast": 2}, 90, (40, 5, 1)),
    ("the present one stays whatever its age", {"keepDays": 1}, 90, (40, 5)),
]


@pytest.mark.parametrize(("why", "rule", "current", "gone"), CASES, ids=[c[0] for c in CASES])
def test_which_students_go(why: str, rule: dict[str, Any], current: int, gone: tuple[int, ...]):
    found = retention.doomed(VERSIONS, Retention(**rule), Occasion(digest(current), NOW))
    assert [version.digest for version in found] == [digest(days) for days in gone]


def test_what_rollouts_serve_stays_whatever_its_age():
    occasion = Occasion(digest(0), NOW, {digest(90), digest(5)})
    found = retention.doomed(VERSIONS, Retention(keepLast=1), occasion)
    assert [version.digest for version in found] == [digest(40), digest(1)]


def test_what_another_job_published_meanwhile_is_newer_and_stays():
    """Two jobs publish at once: this one began before the other one's student appeared."""
    occasion = Occasion(digest(5), NOW - timedelta(days=2))
    found = retention.doomed(VERSIONS, Retention(keepLast=1), occasion)
    assert [version.digest for version in found] == [digest(90), digest(40)]


def test_a_rule_says_what_it_did_or_would_do():
    rule = Retention(keepLast=1)
    assert retention.sentence((), rule) is None
    gone = retention.doomed(VERSIONS, rule, Occasion(digest(0), NOW))
    assert retention.sentence(gone[:1], rule) == f"Retention removed 1 older: {digest(90)[:19]}"
    dry = Retention(keepLast=1, dryRun=True)
    assert (retention.sentence(gone, dry) or "").startswith("Retention would remove 4 older: ")
