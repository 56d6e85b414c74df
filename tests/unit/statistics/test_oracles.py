"""Published and independently computed numbers that our formulas must reproduce."""

import math

import pytest
from distill_operator.statistics import betting, comparison, confidence, split, sprt
from distill_operator.statistics.sprt import Decision, Design

WIDE = Design(0.001, 0.01, 0.01, 0.05)
CLOSE = Design(0.005, 0.01, 0.01, 0.05)
# NIST/SEMATECH e-Handbook of Statistical Methods, section 6.2.6.
NIST = Design(0.01, 0.10, 0.05, 0.10)


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-6, abs=1e-6)


def test_nist_lines():
    assert NIST.lines == (near(0.9388616), near(1.2053786))
    assert near(0.0397474) == NIST.indifferent


@pytest.mark.parametrize(("failures", "requests"), [(0, 24), (1, 49), (2, 74), (3, 100)])
def test_nist_acceptance(failures: int, requests: int):
    assert sprt.accepts_from(NIST, failures) == requests
    assert sprt.decide(NIST, requests, failures) is Decision.ACCEPT
    assert sprt.decide(NIST, requests - 1, failures) is Decision.CONTINUE


@pytest.mark.parametrize(("failures", "requests"), [(0, None), (1, None), (2, 19), (3, 45)])
def test_nist_rejection(failures: int, requests: int | None):
    assert sprt.rejects_to(NIST, failures) == requests


@pytest.mark.parametrize(
    ("rate", "mean"), [(0.0, 23.6), (0.01, 27.96), (NIST.indifferent, 29.65), (0.10, 16.45)]
)
def test_nist_average_sample_number(rate: float, mean: float):
    assert sprt.expected_requests(NIST, rate) == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize(("rate", "mean"), [(0.01, 30.2), (0.10, 22.4)])
def test_nist_exact_mean(rate: float, mean: float):
    assert sprt.characteristic(NIST, rate, 3000).mean_requests == pytest.approx(mean, abs=0.05)


def test_bounds_and_steps():
    assert near(4.553876891600541) == WIDE.upper
    assert near(-2.9856819377004893) == WIDE.lower
    assert (WIDE.up, WIDE.down) == (near(2.302585092994046), near(-0.009049835519917927))
    assert (CLOSE.up, CLOSE.down) == (near(0.6931471805599453), near(-0.005037794029957181))


ACCEPTS = [
    (WIDE, {0: 330, 1: 586, 2: 841, 3: 1097, 4: 1352, 5: 1608}),
    (CLOSE, {0: 593, 1: 732, 2: 870, 5: 1286, 10: 1979, 15: 2672}),
]
REJECTS = [
    (WIDE, {0: None, 1: None, 2: 7, 3: 263, 4: 518, 5: 773, 6: 1029}),
    (CLOSE, {6: None, 7: 66, 8: 204, 10: 481, 12: 759, 15: 1174}),
]


@pytest.mark.parametrize(("design", "edges"), ACCEPTS, ids=["wide", "close"])
def test_acceptance(design: Design, edges: dict[int, int]):
    assert {k: sprt.accepts_from(design, k) for k in edges} == edges


@pytest.mark.parametrize(("design", "edges"), REJECTS, ids=["wide", "close"])
def test_rejection(design: Design, edges: dict[int, int | None]):
    assert {k: sprt.rejects_to(design, k) for k in edges} == edges


@pytest.mark.parametrize(
    ("requests", "failures", "found"),
    [(100, 3, 6.029921), (585, 1, -2.982519), (586, 1, -2.991569)],
)
def test_log_likelihood_ratio(requests: int, failures: int, found: float):
    assert sprt.llr(WIDE, requests, failures) == near(found)


def test_when_all_fail():
    assert [sprt.decide(WIDE, n, n) for n in (1, 2)] == [Decision.CONTINUE, Decision.REJECT]
    assert [sprt.decide(CLOSE, n, n) for n in (6, 7)] == [Decision.CONTINUE, Decision.REJECT]


# p0, p1, alpha; N; at p0: rejects, undecided, leaning; at p1: the same; mean at p0, p1.
TRUNCATED = [
    (WIDE, 500, (0.0036, 0.278, 0.077), (0.753, 0.210, 0.188), (377, 303)),
    (WIDE, 1000, (0.0044, 0.033, 0.010), (0.922, 0.030, 0.027), (430, 353)),
    (WIDE, 2000, (0.0045, 0.0006, None), (0.949, 0.0006, None), (438, 361)),
    (CLOSE, 2000, (0.0042, 0.318, 0.076), (0.505, 0.461, 0.384), (1461, 1588)),
    (CLOSE, 4000, (0.0070, 0.072, 0.023), (0.834, 0.120, 0.107), (1794, 2102)),
    (CLOSE, 8000, (0.0079, 0.004, 0.001), (0.943, 0.007, 0.006), (1887, 2259)),
    (
        Design(0.005, 0.01, 0.05, 0.05),
        4000,
        (0.0381, 0.050, 0.012),
        (0.913, 0.040, 0.030),
        (1694, 1437),
    ),
    (
        Design(0.002, 0.01, 0.01, 0.05),
        2000,
        (0.0058, 0.007, 0.003),
        (0.939, 0.011, 0.010),
        (607, 580),
    ),
]
type Ends = tuple[float, float, float | None]


@pytest.mark.parametrize(("design", "most", "fine", "bad", "means"), TRUNCATED)
def test_the_truncated_test(
    design: Design, most: int, fine: Ends, bad: Ends, means: tuple[int, int]
):
    for rate, told, mean in ((design.p0, fine, means[0]), (design.p1, bad, means[1])):
        found = sprt.characteristic(design, rate, most)
        rejects, undecided, leaning = told
        # As many digits as the table prints.
        assert found.rejects == pytest.approx(rejects, abs=0.0006 if rejects > 0.1 else 0.00006)
        assert found.undecided == pytest.approx(undecided, abs=0.00051)
        assert leaning is None or found.leaning == pytest.approx(leaning, abs=0.00051)
        assert found.mean_requests == pytest.approx(mean, abs=0.6)
        assert found.rejects + found.accepts + found.undecided == pytest.approx(1)


@pytest.mark.parametrize(
    ("rate", "rejects", "digits", "mean"),
    [
        (0.0005, 0.0005, 4, None),
        (0.001, 0.0045, 4, None),
        (0.00316, 0.205, 3, None),
        (0.01, 0.950, 3, None),
        (0.02, 0.9987, 4, 155),
        (0.05, 1.0, 4, 59),
    ],
)
def test_the_operating_characteristic(rate: float, rejects: float, digits: int, mean: int | None):
    found = sprt.characteristic(WIDE, rate, 12_000)
    assert found.rejects == pytest.approx(rejects, abs=0.6 * 10**-digits)
    assert mean is None or found.mean_requests == pytest.approx(mean, abs=0.5)


@pytest.mark.parametrize(
    ("design", "rate", "mean", "percentile"),
    [
        (WIDE, 0.001, 438, 1352),
        (WIDE, 0.01, 361, 1268),
        (CLOSE, 0.005, 1892, 6691),
        (CLOSE, 0.01, 2268, 7466),
        (Design(0.03, 0.05, 0.05, 0.05), 0.03, 553, 1877),
        (WIDE, 0.5, 4, 13),
        (CLOSE, 0.5, 14, 25),
    ],
)
def test_requests_to_a_decision(design: Design, rate: float, mean: int, percentile: int):
    assert sprt.characteristic(design, rate, 20_000).mean_requests == pytest.approx(mean, abs=0.6)
    assert sprt.characteristic(design, rate, percentile).undecided <= 0.01
    assert sprt.characteristic(design, rate, percentile - 1).undecided > 0.01


# Failures, requests, alpha, interval.
INTERVALS = [
    (0, 100, 0.05, 0.0, 0.057029),
    (0, 300, 0.05, 0.0, 0.021174),
    (3, 300, 0.05, 0.000511, 0.044630),
    (10, 1000, 0.05, 0.002406, 0.026164),
    (20, 1000, 0.05, 0.007819, 0.040635),
    (50, 10_000, 0.05, 0.002701, 0.008328),
    (100, 10_000, 0.05, 0.006558, 0.014462),
    (700, 1000, 0.05, 0.645438, 0.751017),
    (10, 1000, 0.01, 0.001960, 0.028630),
]


@pytest.mark.parametrize(("failures", "requests", "alpha", "low", "high"), INTERVALS)
def test_the_confidence_sequence(
    failures: int, requests: int, alpha: float, low: float, high: float
):
    found = confidence.of_rate(requests, failures, alpha=alpha)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)


@pytest.mark.parametrize(
    ("limit", "alpha", "requests"),
    [(0.01, 0.05, 680), (0.01, 0.01, 855), (0.005, 0.05, 1440), (0.005, 0.01, 1780)],
)
def test_requests_without_a_failure_until_the_limit_is_excluded(
    limit: float, alpha: float, requests: int
):
    # The table steps by five requests.
    assert confidence.of_rate(requests, 0, alpha=alpha).high < limit
    assert confidence.of_rate(requests - 5, 0, alpha=alpha).high >= limit


@pytest.mark.parametrize(("failures", "requests"), [(15, 500), (24, 1000), (39, 2000), (80, 5000)])
def test_failures_until_one_percent_is_excluded(failures: int, requests: int):
    assert confidence.of_rate(requests, failures, alpha=0.05).low > 0.01
    assert confidence.of_rate(requests, failures - 1, alpha=0.05).low <= 0.01


def test_the_asymptotic_half_width():
    width = confidence.half_width(1000, 1.0, alpha=0.05, planned=1000)
    assert width == near(0.0959892)


# savvi 0.3.1, Multinomial with k = 100.
SPLITS = [
    ((450, 550), (0.5, 0.5), 28.636092, 0.0349210),
    ((9000, 1150), (0.9, 0.1), 1259.7393, 0.000793815),
    ((5000, 5200), (0.5, 0.5), 0.685380, 1.0),
]


@pytest.mark.parametrize(("counts", "shares", "e_value", "p_value"), SPLITS)
def test_the_split(
    counts: tuple[int, int], shares: tuple[float, float], e_value: float, p_value: float
):
    assert math.exp(split.log_e_value(counts, shares)) == near(e_value)
    assert split.p_value(counts, shares) == near(p_value)


@pytest.mark.parametrize(
    ("fair", "told"),
    [(0.6, (0.915162, 4.116648, 6.960367)), (0.9, (-0.953757, -4.580493, -7.075197))],
)
def test_betting(fair: float, told: tuple[float, ...]):
    xs = (1, 1, 0, 1, 1, 1, 1, 0, 1, 1) * 10
    for count, found in zip((10, 50, 100), told, strict=True):
        played = betting.play(betting.Wealth(), xs[:count], fair=fair, alpha=0.05)
        assert played.log_wealth == near(found)


# Mean failures until the conditional test decides, at H0 and H1, with Wald's bounds.
CONTESTS = [
    (0.05, 2, 209, 256),
    (0.05, 5, 30, 31),
    (0.05, 10, 13, 12),
    (0.25, 2, 61, 81),
    (0.50, 2, 53, 77),
]


@pytest.mark.parametrize(("share", "ratio", "fine", "bad"), CONTESTS)
def test_failures_until_the_arms_are_told_apart(share: float, ratio: float, fine: int, bad: int):
    test = comparison.fixed(share, comparison.Design(ratio, 0.01, 0.05))
    assert sprt.characteristic(test, test.p0, 5000).mean_requests == pytest.approx(fine, abs=1)
    assert sprt.characteristic(test, test.p1, 5000).mean_requests == pytest.approx(bad, abs=1)
