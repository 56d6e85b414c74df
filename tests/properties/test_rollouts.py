"""Whatever students, gateways, people and the operator's own death do, traffic is safe."""

from dataclasses import replace

import hypothesis.strategies as st
from distill_operator.plan.rollout import course, phases, shares, turn
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import (
    WHOLE,
    Arm,
    Child,
    Difference,
    ObservedArtifact,
    PodTokens,
)
from distill_operator.plan.rollout.phases import Phase, Signal
from hypothesis import HealthCheck, event, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rollout_world import ALIKE, World, a_world
from rollouts import BACKENDS, SETTINGS, a_route

EDGES = {(before, after) for before, moves in phases.TABLE.items() for after in moves.values()}
FORWARD = frozenset(
    {Signal.STEP_DONE, Signal.LAST_STEP_DONE, Signal.OVERRIDDEN, Signal.PASSED, Signal.SETTLED}
)
ONWARD = FORWARD - {Signal.SETTLED} | {Signal.PREPARED}
"""What gives the student traffic that it had not."""
TOKENS = (
    ALIKE,
    PodTokens(texts=18, difference=Difference("the query 'short'", "a", (1, 2, 3), (1, 3))),
    PodTokens(absent="it has no token_ids.json"),
    PodTokens(problem="it does not answer"),
    None,
)


class RolloutStory(RuleBasedStateMachine):
    """One rollout's life; the invariants are what the owner of the service would swear to."""

    world: World

    @initialize(
        owns=st.booleans(),
        manual=st.booleans(),
        start=st.sampled_from([None, 1, 2, 4, 5, Phase.PROMOTED, Phase.COMPLETED]),
    )
    def begin(self, *, owns: bool, manual: bool, start: int | Phase | None) -> None:
        self.world = a_world(owns_route=owns)
        if not owns:
            self.world.route = a_route()
        if isinstance(start, Phase):
            self.world.run(20_000, until=start)
        elif start is not None:
            self.world.to_step(start)
        if manual:
            steps = tuple(replace(step, manual=True) for step in self.world.policy.steps)
            self.world.policy = replace(self.world.policy, steps=steps)
        self.turns = 0
        self.gone = False
        """The object is gone: what is written to the route since is nobody's promise."""

    # The operator.

    @rule(dies=st.sampled_from(["", "", "", "status", "route"]), read=st.booleans())
    def reconcile(self, *, dies: str, read: bool) -> None:
        world, before = self.world, self.world.memory
        self.turns += 1
        seen, now = world.seen(read=read), world.now
        plan = world.turn(dies=dies, read=read)
        assert turn.take(seen, SETTINGS, now=now) == plan, "not the same plan"
        self._check(before, plan.decided.state.memory, plan.decided)
        if world.handed_back and not self.gone:
            self.gone = True
            self._nobody_is_cut_off()

    def _nobody_is_cut_off(self) -> None:
        """Check what the garbage collector leaves: a rollout that goes takes nobody's answers."""
        world = self.world
        first = world.memory.transition.before is Phase.PREPARING
        tried = any(entry.after in phases.SERVING for entry in world.memory.history)
        if world.route is None or (first and not tried) or "Gave up keeping" in str(world.told):
            return
        sends = {backend.name for backend in world.route.backends if backend.weight > 0}
        for arm in Arm:
            if BACKENDS.of(arm) in sends and world.sides[arm].ours:
                assert Child("Deployment", BACKENDS.of(arm)) in world.orphans
                assert Child("Service", BACKENDS.of(arm)) in world.orphans
        assert not world.route.bound
        event("deleted, and who serves stays")

    def _check(self, before: Memory, after: Memory, found: course.Outcome) -> None:
        commands = self.world.policy.commands
        if after.transition.id != before.transition.id:
            assert after.transition.id == before.transition.id + 1
            assert (before.phase, after.phase) in EDGES
            event(f"{before.phase} -> {after.phase}")
        signal = after.transition.signal if after.transition != before.transition else ""
        if commands.abort and signal:
            assert Signal[signal] not in FORWARD, "abort beats promote"
        if found.here.tokens.different and signal:
            assert Signal[signal] not in ONWARD, "other tokens than in training get no further"
        assert after.step in (0, before.step, before.step + 1), "a step was skipped"
        if after.step == before.step + 1:
            assert signal in {s.name for s in phases.NEW_STEP}
        if before.phase in phases.RESTING and after.phase is not before.phase:
            assert Signal[signal] in {
                Signal.ABORTED,
                Signal.CHANGED,
                Signal.RETRIED,
                Signal.REPAIRED,
                Signal.DELETED,
            }, "terminal stays terminal until a person changes something"
        if after.step == before.step and not signal:
            grown = after.clocks.soak - before.clocks.soak
            assert 0 <= grown <= SETTINGS.write_interval.total_seconds() * 1.5
        if after.phase is Phase.PREPARING and found.here.phase is Phase.PREPARING:
            # What somebody else gave it stays only while the teacher could not take it.
            assert after.weights.desired <= (found.here.route.share or 0), "before it is ready"
        self._never_onto_the_dead(after, found)

    def _never_onto_the_dead(self, after: Memory, found: course.Outcome) -> None:
        student, teacher = found.here.student.ready, found.here.teacher.ready
        wanted = shares.desired(after, found.here)
        if wanted is None:
            return
        if student == 0 and teacher > 0:
            assert after.weights.desired == 0 or found.here.route.missing
        if teacher == 0 and student > 0 and after.phase is not Phase.COMPLETED and found.edit:
            assert after.weights.desired >= (found.here.route.share or 0), "onto a dead teacher"

    @precondition(lambda self: self.world.route is not None)
    @rule()
    def a_settled_world_plans_no_change(self) -> None:
        """Come to rest without new facts: our own status writes wake the next pass."""
        for _ in range(12):
            self.reconcile(dies="", read=False)
            self.world.start()
            if not self.world.gateway_stuck:
                self.world.program()
        plan = self.world.turn(read=False)
        assert (plan.decided.edit, plan.write, plan.news) == (None, False, ())

    @rule(seconds=st.sampled_from([1, 2, 10, 60, 7200, -3600]))
    def time_passes(self, seconds: float) -> None:
        if seconds < 0:
            self.world.later(seconds, traffic=False)
        else:
            self.world.later(min(seconds, 60))
            self.world.later(seconds - min(seconds, 60), traffic=False)

    @rule(rounds=st.integers(5, 20))
    def everybody_works(self, rounds: int) -> None:
        """Let time bring the rollout forward: without this, faults seldom meet a later step."""
        for _ in range(rounds):
            self.reconcile(dies="", read=True)
            self.world.start()
            if self.world.route is not None:
                self.world.program()
            self.world.later(10)

    @rule()
    def kubernetes_works(self) -> None:
        self.world.start()

    # Faults.

    @rule(arm=st.sampled_from(Arm), loops=st.booleans())
    def pods_crash(self, arm: Arm, *, loops: bool) -> None:
        self.world.crash(arm, loops=loops)

    @rule(arm=st.sampled_from(Arm))
    def pods_recover(self, arm: Arm) -> None:
        self.world.recover(arm)

    @rule(arm=st.sampled_from(Arm), rate=st.sampled_from([0.0, 0.0, 0.002, 0.05, 0.5]))
    def requests_fail(self, arm: Arm, rate: float) -> None:
        self.world.sides[arm].error_rate = rate

    @rule(found=st.sampled_from(TOKENS))
    def tokens_are_compared(self, found: PodTokens | None) -> None:
        self.world.tokens = found

    @rule(down=st.booleans())
    def metrics_go(self, *, down: bool) -> None:
        self.world.metrics_down = down

    @precondition(lambda self: self.world.route is not None)
    @rule(stuck=st.booleans())
    def gateway_sticks(self, *, stuck: bool) -> None:
        self.world.gateway_stuck = stuck
        if not stuck:
            self.world.program()

    # People.

    @rule(paused=st.booleans())
    def pause(self, *, paused: bool) -> None:
        self.world.order(paused=paused)

    @rule(abort=st.booleans())
    def abort(self, *, abort: bool) -> None:
        self.world.order(abort=abort)

    @rule(promote=st.sampled_from([None, "1", "2", "3", "5", "Full"]))
    def promote(self, promote: str | None) -> None:
        self.world.order(promote=promote)

    @rule(retry=st.sampled_from(["1", "2", "3"]))
    def retry(self, retry: str) -> None:
        self.world.order(retry=retry)

    @rule(revision=st.sampled_from(["rev-1", "rev-2"]))
    def change_the_student(self, revision: str) -> None:
        self.world.revision = revision
        self.world.generation += 1

    @rule(final=st.booleans())
    def the_artifact_goes(self, *, final: bool) -> None:
        self.world.artifact = ObservedArtifact(problem="the job has failed", final=final)

    @rule()
    def the_artifact_comes(self) -> None:
        self.world.artifact = ObservedArtifact("oci://registry/minilm", "sha256:" + "0" * 64)

    @precondition(lambda self: self.world.route is not None)
    @rule(share=st.sampled_from([0, 50, 500, 1000]))
    def write_weights(self, share: int) -> None:
        self.world.edit_weights(share)

    @precondition(lambda self: self.turns > 10)
    @rule()
    def delete(self) -> None:
        self.world.deleting = True

    @invariant()
    def what_is_bad_for_good_stays_away(self) -> None:
        memory = self.world.memory
        assert 0 <= memory.weights.desired <= WHOLE
        assert memory.fights <= 3


TestRollouts = RolloutStory.TestCase
TestRollouts.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
