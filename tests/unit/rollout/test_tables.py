"""The machine's tables: complete, reachable, and drawn as they are."""

from distill_api.names import RolloutPhase
from distill_operator.plan.rollout import diagram, phases
from distill_operator.plan.rollout.phases import TABLE, Phase, Signal


def test_every_phase_can_be_reached_and_left():
    reached, new = {Phase.PENDING}, True
    while new:
        further = {after for before in reached for after in TABLE[before].values()}
        new = not further <= reached
        reached |= further
    assert reached == set(RolloutPhase)
    assert all(TABLE[phase] for phase in Phase if phase is not Phase.DELETING)


def test_every_signal_leads_somewhere():
    assert {signal for row in TABLE.values() for signal in row} == set(Signal)


def test_every_phase_but_the_last_can_be_deleted_and_aborted_where_traffic_flows():
    assert all(Signal.DELETED in TABLE[p] for p in Phase if p is not Phase.DELETING)
    assert all(TABLE[p][Signal.ABORTED] is Phase.ROLLING_BACK for p in phases.SERVING)


def test_the_worse_signal_counts():
    both = {Signal.STEP_DONE, Signal.ABORTED, Signal.REGRESSED}
    assert phases.first(Phase.PROGRESSING, both) is Signal.ABORTED
    assert phases.first(Phase.ROLLED_BACK, both) is None


def test_the_page_is_drawn_from_the_tables():
    assert diagram.PAGE.read_text() == diagram.page()
    assert diagram.main(["--check"]) == 0
