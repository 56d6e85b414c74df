"""Whatever pods, users and the operator's own death do, the planner keeps its promises."""

import hypothesis.strategies as st
import jobs
from distill_api.names import ConditionType, Stage, StageState
from distill_api.status import JobStatus
from distill_api.wire import TrainerStatus
from distill_operator.plan import conditions, course
from distill_operator.plan import job as planning
from distill_operator.plan.diagram import edges
from distill_operator.plan.look import finished
from distill_operator.plan.model import Observed, ObservedPod, ObservedProgress, Plan
from hypothesis import HealthCheck, event, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from world import World, a_world

TRANSITIONS = {(before, after) for before, after, _ in edges()}


class PlannerStory(RuleBasedStateMachine):
    """One job's life, told by faults."""

    world: World

    @initialize(
        queue=st.sampled_from([None, "team"]),
        uri=st.sampled_from([None, "s3://bucket/work"]),
        retries=st.integers(0, 2),
    )
    def begin(self, queue: str | None, uri: str | None, retries: int) -> None:
        changes = {"retries": retries, "workspace": {"uri": uri} if uri else {}}
        if queue:
            changes["queueName"] = queue
        self.world = a_world(**changes)
        self.complete: set[Stage] = set()
        self.ended: JobStatus | None = None
        self.edited = False

    # The operator.

    @rule(dies=st.booleans())
    def reconcile(self, *, dies: bool) -> None:
        before, made, seen = self.world.job.status, len(self.world.made), self.world.seen()
        plan = self.world.turn(status_is_lost=dies)
        assert planning.plan(seen, jobs.SETTINGS, now=self.world.now) == plan, "not the same plan"
        self._check_news(seen, plan)
        self._check_transitions(before, plan.status)
        for stage, _ in self.world.made[made:]:
            assert stage not in course.complete(before), f"{stage} was complete"
        self.complete |= course.complete(self.world.job.status)

    @rule(rounds=st.integers(1, 6), work=st.sampled_from(["succeed", "succeed", "crash", "none"]))
    def everybody_works(self, rounds: int, work: str) -> None:
        """Let time bring the job forward: without this, faults seldom meet a later stage."""
        for _ in range(rounds):
            self.reconcile(dies=False)
            self.step("control")
            self.step("start")
            if work != "none":
                self.pod_ends(work)
            self.step("control")
            self.world.later(5)

    @rule(what=st.sampled_from(["control", "start", "restart", "1", "60"]))
    def step(self, what: str) -> None:
        """Let one part of the world do its work, or time pass, or the operator start anew."""
        if what == "restart":
            self.world.progress.clear()
        elif what.isdigit():
            self.world.later(int(what))
        else:
            getattr(self.world, what)()
            self._kueue_admits()

    @precondition(lambda self: self._running())
    @rule(how=st.sampled_from(["succeed", "crash", "disrupt", "try_again", "give_up", "vanish"]))
    def pod_ends(self, how: str) -> None:
        for pod in self._running():
            if how in ("try_again", "give_up"):
                self.world.fail(pod, final=how == "give_up")
            else:
                getattr(self.world, how)(pod)

    @precondition(lambda self: self._running())
    @rule(percent=st.integers(0, 100))
    def a_pod_pushes(self, percent: int) -> None:
        pod = self._running()[0]
        status = TrainerStatus(progress_percentage=percent)
        self.world.progress[pod.stage] = ObservedProgress(pod.uid, self.world.now, status)

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data())
    def something_is_deleted(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted([*self.world.pods, *self.world.jobs])))
        if name in self.world.jobs:
            self.world.delete_job(name)
        else:
            self.world.vanish(self.world.pods[name])

    # The user.

    @rule(suspend=st.booleans(), memory=st.sampled_from([None, "2Gi", "8Gi"]))
    def the_user_edits(self, *, suspend: bool, memory: str | None) -> None:
        changes: dict[str, object] = {"suspend": suspend}
        if memory is not None:
            requests = {"cpu": "500m", "memory": "1Gi"}
            changes["podTemplate"] = {
                "resources": {"requests": requests, "limits": {"memory": memory}}
            }
        self.world.edit(**changes)
        # With other settings a failed job may begin anew.
        self.edited = self.edited or memory is not None

    # The promises.

    @invariant()
    def a_complete_stage_stays_complete(self) -> None:
        assert self.complete <= course.complete(self.world.job.status)

    @invariant()
    def stages_become_complete_in_order(self) -> None:
        done = [s.state is StageState.COMPLETE for s in self.world.job.status.stages]
        assert done == sorted(done, reverse=True)

    @invariant()
    def at_most_one_job_is_active(self) -> None:
        active = [job.name for job in self.world.jobs.values() if not finished(job)]
        assert len(active) <= 1, active

    @invariant()
    def at_most_one_pod_works_on_the_workspace(self) -> None:
        working = [pod.name for pod in self.world.working()]
        assert len(working) <= 1, working

    @invariant()
    def a_finished_job_stays_as_it_ended(self) -> None:
        status = self.world.job.status
        if self.ended is None or (self.edited and _value(self.ended) == "False"):
            self.ended = status if conditions.finished(status) else None
            return
        assert conditions.finished(status)
        assert _value(status) == _value(self.ended)
        assert status.completion_time == self.ended.completion_time

    @invariant()
    def every_condition_is_there(self) -> None:
        status = self.world.job.status
        if status.conditions:
            assert {c.type for c in status.conditions} == set(ConditionType)

    def teardown(self) -> None:
        """From wherever faults have led, a fair world brings the job to its end and to rest."""
        if not hasattr(self, "world"):
            return
        self.world.edit(suspend=False)
        self.world.run(rounds=120, admit=self._kueue_admits)
        assert conditions.finished(self.world.job.status)
        event(f"ended with Succeeded={_value(self.world.job.status)}")
        event(f"complete before the fair world: {len(self.complete)}")
        plan = planning.plan(self.world.seen(), jobs.SETTINGS, now=self.world.now)
        assert plan.status == self.world.job.status
        assert plan.news == ()
        assert {c["metadata"]["name"] for c in plan.children if c["kind"] == "Job"} == set(
            self.world.jobs
        )

    def _check_news(self, seen: Observed, plan: Plan) -> None:
        """News is told once: with its status written, the same observation tells nothing."""
        written = jobs.World(seen).with_status(plan.status).seen
        assert planning.plan(written, jobs.SETTINGS, now=self.world.now).news == ()

    def _check_transitions(self, before: JobStatus, after: JobStatus) -> None:
        old = {entry.name: entry.state for entry in before.stages}
        for entry in after.stages:
            was = old.get(entry.name, StageState.PENDING)
            assert was is entry.state or (was, entry.state) in TRANSITIONS, entry.name

    def _kueue_admits(self) -> None:
        if self._spec().queue_name and not self._spec().suspend:
            for name, job in self.world.jobs.items():
                self.world.jobs[name] = jobs.replace(job, suspended=False)

    def _running(self) -> list[ObservedPod]:
        return [p for p in self.world.working() if p.phase == "Running" and not p.deleting]

    def _spec(self) -> jobs.DistillationJobSpec:
        assert self.world.job.spec is not None
        return self.world.job.spec


def _value(status: JobStatus) -> str:
    found = conditions.find(status, ConditionType.SUCCEEDED)
    assert found is not None
    return found.status


PlannerStory.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPlannerStory = PlannerStory.TestCase
