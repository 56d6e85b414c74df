"""Users' queries in a rollout: the prober while it measures, its Service as long as the route."""

from dataclasses import replace
from typing import Any, Final

import pytest
from distill_api.data import DataSource
from distill_api.rollout_policies import Action, Prober
from distill_operator.plan.rollout.model import Arm, Child, ObservedMetrics, PairedScores
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.render.rollout.order import Mirrored, ProberOrder
from rollout_world import World
from rollouts import A_ROUTE_ORDER, BACKENDS, METRICS, OWNER, POLICY

NAME: Final = "prober"
ORDER: Final = ProberOrder(
    owner=OWNER,
    name=NAME,
    prober=Prober(queries=DataSource(uri="pvc://held-out/rows.jsonl")),
    image="server",
    component="Embedding",
    teacher_url=f"http://{BACKENDS.teacher}:8080",
    student_url=f"http://{BACKENDS.student}:8080",
    served_name="minilm",
    measures=(),
    mirrored=(("agreement", "nDCG@10"),),
)
MIRROR: Final = Mirrored(NAME, ORDER.port, percent=5)


class Mirroring(World):
    """A world whose gateway copies users' requests to the prober."""

    pairs: PairedScores = PairedScores("quality", "users-1", (), (), 0)
    """What the prober tells."""

    def _metrics(self) -> ObservedMetrics:
        return replace(super()._metrics(), scores=(self.pairs,))

    def ask(self, queries: int, run: str) -> None:
        """Let so many queries of users be scored, in which the student agrees with the teacher."""
        numbers = tuple(range(1, queries + 1))
        self.pairs = PairedScores("quality", run, ((1.0, 1.0),) * queries, numbers, queries)

    @property
    def counted(self) -> int:
        """Pairs that are evidence."""
        return self.state.evidence.qualities["quality"].sums.pairs

    @property
    def wanted(self) -> Wanted:
        """What the spec asks for."""
        route = replace(A_ROUTE_ORDER, mirror=MIRROR)
        return replace(super().wanted, route=route, prober=ORDER)


def a_mirroring_world(**changes: Any) -> Mirroring:
    return Mirroring(policy=replace(POLICY, **changes))


JUDGED: Final = {"metrics": (METRICS["errors"], METRICS["quality"]), "no_data": Action.ROLLBACK}


def test_users_who_ask_nothing_are_no_outage_and_move_nothing_either():
    world = a_mirroring_world(**JUDGED)
    world.run(2 * 3600)
    assert (world.phase, world.memory.step, world.share) == (Phase.PROGRESSING, 0, 50)
    assert world.warnings == []
    assert world.memory.clocks.outage == 0
    world.ask(100, "users-1")
    world.to_step(2)


def test_a_prober_that_starts_again_adds_users_queries_to_those_of_before():
    world = a_mirroring_world(**JUDGED)
    world.ask(100, "users-1")
    world.to_step(2)
    assert world.counted == 100
    world.ask(0, "users-2")
    world.run(120)
    assert world.counted == 100
    world.ask(30, "users-2")
    world.run(120)
    assert world.counted == 130


def test_queries_of_users_prove_a_student_in_the_end():
    world = a_mirroring_world(**JUDGED)
    world.ask(1000, "users-1")
    world.run(400_000, until=Phase.PROMOTED)


def of_the_prober(world: World) -> set[str]:
    """Return the kinds of the prober's children that the next pass applies."""
    applied = world.turn().children.applied
    return {child["kind"] for child in applied if child["metadata"]["name"] == NAME}


def test_the_prober_and_its_service_are_there_while_queries_are_measured():
    world = a_mirroring_world()
    world.to_step(2)
    assert of_the_prober(world) == {"Deployment", "Service"}
    world.run(400_000, until=Phase.PROMOTED)
    assert of_the_prober(world) == {"Deployment", "Service"}


def test_a_route_that_copies_requests_names_its_service_before_there_is_a_prober():
    world = a_mirroring_world()
    world.turn()
    world.turn()
    assert world.phase is Phase.PREPARING
    assert of_the_prober(world) == {"Service"}


@pytest.mark.parametrize("end", [Phase.COMPLETED, Phase.ROLLED_BACK])
def test_the_service_stays_as_long_as_the_route_where_nothing_is_measured_any_more(end: Phase):
    world = a_mirroring_world()
    world.to_step(2)
    if end is Phase.ROLLED_BACK:
        world.sides[Arm.STUDENT].error_rate = 0.5
    world.run(400_000, until=end)
    assert of_the_prober(world) == {"Service"}


def test_a_deleted_rollout_leaves_the_service_that_its_route_copies_to():
    world = a_mirroring_world()
    world.to_step(3)
    world.deleting = True
    kept = {Child("Deployment", NAME), Child("Service", NAME)}
    assert kept <= set(world.turn().children.kept)
    world.run(600)
    assert world.handed_back
    assert {child for child in world.orphans if child.name == NAME} == {Child("Service", NAME)}
    assert any("Kept: " in told and f"Service {NAME}" in told for told in world.told)


def test_a_rollout_deleted_before_its_first_step_leaves_nothing_to_copy_to():
    world = a_mirroring_world()
    world.turn()
    world.turn()
    assert world.phase is Phase.PREPARING
    world.deleting = True
    world.run(600)
    assert world.handed_back
    assert world.orphans == set()
