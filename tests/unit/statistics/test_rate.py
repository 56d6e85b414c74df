"""The verdict of a rate, as stories of two arms."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from distill_operator.statistics import comparison, rate, sprt, trial, words
from distill_operator.statistics.comparison import Arm
from distill_operator.statistics.rate import Rule, State
from distill_operator.statistics.trial import Trial
from distill_operator.statistics.verdict import Finding, Verdict

DESIGN = sprt.Design(0.005, 0.01, 0.004, 0.05, ville=True)
RULE = Rule("errors", "failed", DESIGN, comparison.Design(2, 0.004, 0.05), effect=1.0)


@dataclass(slots=True)
class Story:
    """Looks of a minute each; what was found at each."""

    rule: Rule = RULE
    state: State = field(default_factory=State)
    minutes: int = 0
    found: list[Finding] = field(default_factory=list)

    def then(self, student: Arm, teacher: Arm, *, times: int = 1) -> "Story":
        for _ in range(times):
            self.state = rate.add(self.state, 60.0 * self.minutes, student, teacher, self.rule)
            finding, self.state = rate.judge(self.state, self.rule, per_second=0.5)
            self.found.append(finding)
            self.minutes += 1
        return self

    @property
    def verdicts(self) -> list[Verdict]:
        """Return the verdicts, each once for a row of equal ones."""
        told = [f.verdict for f in self.found]
        return [v for n, v in enumerate(told) if n == 0 or told[n - 1] is not v]


CASES: list[tuple[str, Iterable[tuple[Arm, Arm, int]], list[Verdict]]] = [
    ("nothing came", [(Arm(), Arm(), 3)], [Verdict.NO_DATA]),
    ("the teacher alone was asked", [(Arm(), Arm(600, 3), 3)], [Verdict.NO_DATA]),
    ("a few, all well", [(Arm(30), Arm(570), 5)], [Verdict.UNDECIDED]),
    (
        "good for long",
        [(Arm(60), Arm(540), 60)],
        [Verdict.UNDECIDED, Verdict.HEALTHY],
    ),
    ("all fail at once", [(Arm(10, 10), Arm(190), 1)], [Verdict.REGRESSED]),
    (
        "bad after a long good time",
        [(Arm(600), Arm(600), 500), (Arm(60, 30), Arm(60), 1)],
        [Verdict.HEALTHY, Verdict.REGRESSED],
    ),
    (
        "both arms fail for a while and recover",
        [(Arm(60), Arm(540), 40), (Arm(60, 20), Arm(540, 180), 5), (Arm(60), Arm(540), 40)],
        [Verdict.UNDECIDED, Verdict.HEALTHY, Verdict.ENVIRONMENT_FAULT, Verdict.HEALTHY],
    ),
    (
        "both fail, the student far more",
        [(Arm(300, 150), Arm(300, 15), 1)],
        [Verdict.REGRESSED],
    ),
    (
        "a teacher that fails always does not hide a student that breaks",
        [(Arm(300, 1), Arm(300, 9), 60), (Arm(300, 150), Arm(300, 9), 2)],
        [Verdict.UNDECIDED, Verdict.HEALTHY, Verdict.REGRESSED],
    ),
    (
        "a teacher that failed once does not excuse the student later",
        [
            (Arm(300), Arm(300, 100), 1),
            (Arm(300), Arm(300), 30),
            (Arm(300, 100), Arm(300), 1),
        ],
        [Verdict.UNDECIDED, Verdict.HEALTHY, Verdict.REGRESSED],
    ),
]


@pytest.mark.parametrize(("why", "looks", "verdicts"), CASES, ids=[c[0] for c in CASES])
def test_a_story(why: str, looks: Iterable[tuple[Arm, Arm, int]], verdicts: list[Verdict]):
    story = Story()
    for student, teacher, times in looks:
        story.then(student, teacher, times=times)
    assert story.verdicts == verdicts


def test_a_sudden_fault_is_found_within_forty_requests_after_six_hundred_thousand_good_ones():
    story = Story().then(Arm(60_000, 120), Arm(60_000, 120), times=10)
    assert story.verdicts == [Verdict.HEALTHY]
    while story.verdicts[-1] is not Verdict.REGRESSED:
        story.then(Arm(2, 1), Arm(2))
    told = story.found[-1].student
    assert (told.count, told.failures, told.since) == (36, 18, 600_000)


def test_evidence_against_it_takes_the_healthy_verdict_back_before_it_regresses():
    story = Story().then(Arm(600), Arm(600), times=5).then(Arm(20, 8), Arm(20))
    finding = story.found[-1]
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.warn
    assert finding.evidence is not None
    assert 0.5 <= finding.evidence.towards_rollback < 1


def test_a_fault_of_both_arms_lasts_until_the_student_is_found_fine_again():
    story = Story().then(Arm(600), Arm(600), times=5).then(Arm(60, 30), Arm(60, 30))
    story.then(Arm(), Arm()).then(Arm(3, 1), Arm(3, 1), times=2).then(Arm(60), Arm(60), times=30)
    assert story.verdicts == [Verdict.HEALTHY, Verdict.ENVIRONMENT_FAULT, Verdict.HEALTHY]
    faults = [f for f in story.found if f.verdict is Verdict.ENVIRONMENT_FAULT]
    assert len(faults) > 10
    assert words.explain(faults[3]).startswith(
        "errors: 2 of 6 requests of the student after the first 3,060 failed (33.3 %,"
    )
    assert "waiting until the student is found fine again, needs about" in words.explain(faults[3])


def test_without_a_contest_nobody_is_exonerated():
    story = Story(replace(RULE, contest=None)).then(Arm(60, 20), Arm(540, 180))
    assert story.verdicts == [Verdict.REGRESSED]


def test_relative_to_a_teacher_that_fails_a_lot():
    rule = replace(RULE, relative=True)
    same = Story(rule).then(Arm(300, 6), Arm(300, 6), times=20)
    worse = Story(rule).then(Arm(300, 12), Arm(300, 6), times=20)
    assert same.verdicts == [Verdict.UNDECIDED, Verdict.HEALTHY]
    assert worse.verdicts == [Verdict.UNDECIDED, Verdict.REGRESSED]


def test_nothing_measured_keeps_the_evidence():
    story = Story().then(Arm(60, 0), Arm(540, 2), times=3)
    finding = rate.unavailable(story.state, RULE)
    assert (finding.verdict, finding.student.count, finding.warn) == (Verdict.NO_DATA, 180, False)


def test_a_warning_needs_more_than_a_bad_estimate():
    rule = replace(RULE, warn=0.006)
    seldom = Story(rule).then(Arm(100, 1), Arm(900))
    often = Story(rule).then(Arm(100_000, 700), Arm(100_000, 500))
    assert (seldom.found[-1].warn, often.found[-1].warn) == (False, True)


def test_the_forecast_shrinks_as_good_requests_come():
    story = Story().then(Arm(60), Arm(540), times=9)
    told = [f.forecast for f in story.found]
    needs = [f.requests for f in told if f is not None]
    assert len(needs) == 9
    assert needs == sorted(needs, reverse=True)
    # 540 good requests need 53 + 9 more at the rate of the imagined ones: Wald's mean is close.
    assert needs[-1] < 150
    last = told[-1]
    assert last is not None
    assert last.seconds == pytest.approx(2 * last.requests)


def test_between_the_rates_the_test_says_that_it_is_exhausted():
    story = Story().then(Arm(1000, 7), Arm(1000, 7), times=10)
    assert [f.exhausted for f in story.found] == [False] * 8 + [True] * 2
    assert story.verdicts == [Verdict.UNDECIDED]


def test_more_failures_than_requests_are_refused():
    with pytest.raises(ValueError, match="Read both counters at the same time"):
        trial.add(Trial(), 3, 4)
    with pytest.raises(ValueError, match="none below 0"):
        trial.add(Trial(), 3, -1)
