"""Verdicts of several metrics, and what they say in words."""

import pytest
from distill_operator.statistics import verdict, words
from distill_operator.statistics.confidence import Interval
from distill_operator.statistics.verdict import Counted, Evidence, Finding, Forecast, Verdict

NO_DATA, UNDECIDED, HEALTHY, REGRESSED, FAULT = Verdict


def finding(told: Verdict, *, critical: bool = True, forecast: Forecast | None = None) -> Finding:
    return Finding("errors", "failed", told, 0.01, 0.005, critical=critical, forecast=forecast)


CASES: list[tuple[str, list[Finding], Verdict]] = [
    ("nothing is asked for", [], NO_DATA),
    ("all are healthy", [finding(HEALTHY), finding(HEALTHY)], HEALTHY),
    ("one is open", [finding(HEALTHY), finding(UNDECIDED)], UNDECIDED),
    ("one is not measured", [finding(NO_DATA), finding(HEALTHY)], NO_DATA),
    (
        "one regressed while another is not measured",
        [finding(NO_DATA), finding(REGRESSED)],
        REGRESSED,
    ),
    ("one regressed during a fault of both", [finding(FAULT), finding(REGRESSED)], REGRESSED),
    ("a fault of both", [finding(HEALTHY), finding(FAULT), finding(NO_DATA)], FAULT),
    (
        "one that is not critical is open",
        [finding(HEALTHY), finding(UNDECIDED, critical=False)],
        HEALTHY,
    ),
    (
        "one that is not critical regressed",
        [finding(HEALTHY), finding(REGRESSED, critical=False)],
        REGRESSED,
    ),
    ("none is critical", [finding(HEALTHY, critical=False)], NO_DATA),
]


@pytest.mark.parametrize(("why", "found", "together"), CASES, ids=[c[0] for c in CASES])
def test_together(why: str, found: list[Finding], together: Verdict):
    assert verdict.combine(found) is together
    assert verdict.combine(found[::-1]) is together
    assert verdict.promotes(found) is (together is HEALTHY)


def test_the_slowest_forecast_counts_and_an_unknown_one_is_slower():
    fast = finding(UNDECIDED, forecast=Forecast(100, 10))
    slow = finding(UNDECIDED, forecast=Forecast(50, 500))
    stuck = finding(UNDECIDED, forecast=Forecast(10))
    unknown = finding(UNDECIDED)
    assert verdict.slowest([fast, slow, finding(HEALTHY)]) == Forecast(50, 500)
    assert verdict.slowest([fast, stuck]) == Forecast(10)
    assert verdict.slowest([fast, unknown]) is None
    assert verdict.slowest([finding(HEALTHY)]) is None


def test_the_way_to_a_decision():
    up = Evidence(llr=2.0, upper=4.0, lower=-3.0)
    down = Evidence(llr=-6.0, upper=4.0, lower=-3.0)
    paired = Evidence(llr=-1.0, upper=6.0, proof=2.0, proof_bound=4.0)
    ways = [(e.towards_rollback, e.towards_healthy) for e in (up, down, paired)]
    assert ways == [(0.5, 0.0), (0.0, 1.0), (0.0, 0.5)]


RATE = Counted(1432, 12, 0, 0.00838, Interval(0.0043, 0.0147))
AFTER = Counted(60, 30, 24_000, 0.5, Interval(0.299, 0.701))
SCORES = Counted(124, estimate=0.85, interval=Interval(0.8213, 0.8787))
OPEN = Evidence(llr=2.5, upper=5.0, lower=-3.0)
TEACHER = Counted(22_140, 1, 0, 1 / 22_140, Interval(0, 0.001))

SENTENCES: list[tuple[Finding, str]] = [
    (
        finding(NO_DATA),
        "errors: nothing was measured yet, so nothing is decided.",
    ),
    (
        Finding("errors", "failed", NO_DATA, 0.01, 0.005, RATE),
        "errors: nothing can be measured at present; the evidence of 1,432 requests is kept.",
    ),
    (
        Finding(
            "errors",
            "failed",
            UNDECIDED,
            0.01,
            0.005,
            RATE,
            evidence=OPEN,
            forecast=Forecast(1387, 2820.0),
        ),
        (
            "errors: 12 of 1,432 requests of the student failed (0.84 %, 95 % interval 0.43 % to"
            " 1.47 %). Undecided between fine (0.5 % or less) and regressed (1 %), 50 % of the"
            " way to rollback; needs about 1,400 more student requests, 47 min at 0.5 a second."
        ),
    ),
    (
        Finding("errors", "failed", REGRESSED, 0.01, 0.005, AFTER, TEACHER),
        (
            "errors: 30 of 60 requests of the student after the first 24,000 failed (50 %, 95 %"
            " interval 29.9 % to 70.1 %). Regressed: fine is 0.5 % or less, the limit is 1 %. Of"
            " the teacher's requests, 1 of 22,140 (0.0045 %) failed."
        ),
    ),
    (
        Finding("errors", "failed", FAULT, 0.01, 0.005, AFTER, TEACHER, warn=True),
        (
            "errors: 30 of 60 requests of the student after the first 24,000 failed (50 %, 95 %"
            " interval 29.9 % to 70.1 %). That is above the limit of 1 %, but not the student's"
            " fault: something that both arms depend on is broken. Of the teacher's requests, 1"
            " of 22,140 (0.0045 %) failed."
        ),
    ),
    (
        Finding("errors", "failed", HEALTHY, 0.01, 0.005, RATE, effect=1.62, warn=True),
        (
            "errors: 12 of 1,432 requests of the student failed (0.84 %, 95 % interval 0.43 % to"
            " 1.47 %). Healthy: tested against a limit of 1 %. Warning: this is worse than it"
            " should be. Failures come in bursts, so 1.6 requests count as one."
        ),
    ),
    (
        Finding("errors", "failed", UNDECIDED, 0.01, 0.005, RATE, evidence=OPEN, exhausted=True),
        (
            "errors: 12 of 1,432 requests of the student failed (0.84 %, 95 % interval 0.43 % to"
            " 1.47 %). Undecided between fine (0.5 % or less) and regressed (1 %), 50 % of the"
            " way to rollback. Enough was seen, the truth lies in between: a person has to"
            " promote or abort."
        ),
    ),
    (
        Finding("errors", "failed", REGRESSED, 2, 1, RATE, TEACHER, relative=True),
        (
            "errors: 12 of 1,432 requests of the student failed (0.84 %, 95 % interval 0.43 % to"
            " 1.47 %). Regressed: fine is the teacher's rate, the limit is 2 times the teacher's"
            " rate. Of the teacher's requests, 1 of 22,140 (0.0045 %) failed."
        ),
    ),
    (
        Finding("ndcg", "nDCG@10", REGRESSED, 0.95, 0.98, SCORES),
        (
            "ndcg: over 124 pairs the student keeps 85 % of the teacher's nDCG@10 (95 % interval"
            " 82.1 % to 87.9 %). Regressed: fine is 98 % or more, the limit is 95 %."
        ),
    ),
    (
        Finding(
            "ndcg", "nDCG@10", UNDECIDED, 0.95, 0.98, Counted(4), forecast=Forecast(180, 5400.0)
        ),
        (
            "ndcg: over 4 pairs the student keeps nothing that can be compared: the teacher's"
            " nDCG@10 is 0. Undecided between fine (98 % or more) and regressed (95 %); needs"
            " about 180 more pairs, 1.5 h at 2.0 a minute."
        ),
    ),
]


@pytest.mark.parametrize(("told", "sentence"), SENTENCES, ids=range(len(SENTENCES)))
def test_a_sentence(told: Finding, sentence: str):
    assert words.explain(told) == sentence


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (2820, "47 min"),
        (22_680, "6.3 h"),
        (200_000, "2 d"),
    ],
)
def test_a_duration(seconds: float, written: str):
    assert words.duration(seconds) == written


@pytest.mark.parametrize(
    ("share", "written"),
    [(0, "0 %"), (1, "100 %"), (0.005, "0.5 %"), (0.0333, "3.33 %"), (0.000225, "0.022 %")],
)
def test_a_share(share: float, written: str):
    assert words.percent(share) == written


@pytest.mark.parametrize(
    ("per_second", "when"),
    [(0.8, ", 60 s at 0.8 a second"), (0, " (none arrive at present)"), (None, "")],
)
def test_a_forecast_says_when_if_that_is_known(per_second: float | None, when: str):
    told = words.forecast(Forecast.at(48, per_second))
    assert told == f"needs about 48 more student requests{when}"
