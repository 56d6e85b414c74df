"""One pass over one DistilledModelRollout: see, decide, act; what is interesting is in `plan`."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from distill_api.rollout_status import RolloutStatus

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import (
    DISTILLED_ROLLOUT,
    MADE_BY_ROLLOUT,
    POD,
)
from distill_operator.effects.ours import key
from distill_operator.effects.rollout import arms, artifact, observe, prober, route, scrape
from distill_operator.effects.rollout.arms import Arms, Side
from distill_operator.effects.rollout.converge import RolloutConverger, Subject
from distill_operator.effects.rollout.scrapes import Scrapes
from distill_operator.effects.rollout.tokens import TokenChecks
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import rollout as planning
from distill_operator.plan.rollout.model import Arm, Refusals, Settings
from distill_operator.plan.rollout.phases import MEASURED, Phase
from distill_operator.plan.rollout.rollout import Observed, ObservedRollout, Plan

log = logging.getLogger(__name__)

COMPARED = MEASURED | {Phase.PREPARING}
"""Phases in which the student's tokens are compared with those of its training."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What a pass acts with."""

    cluster: Cluster
    store: Store
    converger: RolloutConverger
    scrapes: Scrapes
    tokens: TokenChecks


class RolloutReconciler:
    """Runs passes; keeps no truth of its own: what it remembers is found out again."""

    def __init__(self, hands: Hands, settings: Settings, *, unroutable: str | None) -> None:
        self._hands = hands
        self._arms = Arms(hands.cluster, hands.store)
        self._settings = settings
        self._unroutable = unroutable
        """Why no route can be seen or moved; None: they are watched."""
        self._refused: dict[str, Refusals] = {}

    def knows(self, uid: str) -> bool:
        """Tell whether a uid is that of a rollout, or of one that was here."""
        return self._hands.store.get(DISTILLED_ROLLOUT, uid) is not None or uid in self._refused

    async def turn(self, uid: str) -> timedelta | None:
        """Run one pass; return when to look again, None to wait for a change."""
        body = self._hands.store.get(DISTILLED_ROLLOUT, uid)
        if body is None:
            self._refused.pop(uid, None)
            self._hands.scrapes.forget(uid)
            self._hands.tokens.forget(uid)
            self._hands.converger.forget(uid)
            return None
        try:
            return await self._pass(uid, body)
        except errors.Conflict:
            await self._hands.store.read_again(self._hands.cluster, DISTILLED_ROLLOUT, body)
            raise

    async def _pass(self, uid: str, body: Manifest) -> timedelta | None:
        now = datetime.now(UTC)
        rollout = observe.rollout(body)
        sides = await self._sides(body, rollout)
        observed = self._see(body, rollout, sides)
        plan = planning.plan(observed, self._settings, now=now)
        seen = Subject(body, rollout, {key(child): child for child in self._children(uid)})
        refused = await self._hands.converger.converge(seen, plan, now)
        self._measure(rollout, plan, sides)
        self._compare(rollout, plan, sides)
        return timedelta() if await self._told(seen, refused, now) else plan.look_again

    async def _sides(self, body: Manifest, rollout: ObservedRollout) -> tuple[Side, ...]:
        if rollout.spec is None:
            return ()
        owner = observe.owner(body)
        return tuple([await self._arms.side(owner, rollout.spec, arm) for arm in Arm])

    def _see(self, body: Manifest, rollout: ObservedRollout, sides: tuple[Side, ...]) -> Observed:
        spec, store = rollout.spec, self._hands.store
        if spec is None:
            return Observed(rollout)
        looks = {side.arm: arms.look(side) for side in sides}
        return Observed(
            rollout=rollout,
            route=route.look(observe.owner(body), spec, store),
            teacher=looks[Arm.TEACHER],
            student=looks[Arm.STUDENT],
            metrics=self._hands.scrapes.take(rollout.uid, _mark(rollout.status)),
            tokens=self._hands.tokens.take(rollout.uid),
            artifact=artifact.look(spec, rollout.namespace, store),
            unroutable=self._unroutable,
            others=observe.others(body, store),
            previous=observe.previous(spec, body, store),
            refused=self._refused.get(rollout.uid, Refusals(known=False)),
        )

    def _children(self, uid: str) -> list[Manifest]:
        kinds = MADE_BY_ROLLOUT.values()
        return [child for kind in kinds for child in self._hands.store.children(kind, uid)]

    def _measure(self, rollout: ObservedRollout, plan: Plan, sides: tuple[Side, ...]) -> None:
        """Let counters be looked at while the student is judged."""
        spec = rollout.spec
        if spec is None or plan.status.phase not in MEASURED:
            self._hands.scrapes.forget(rollout.uid)
            return
        wanted = scrape.Wanted(
            namespace=rollout.namespace,
            targets=tuple(target for side in sides for target in arms.targets(side)),
            metrics=tuple(spec.metrics),
            prometheus=spec.evidence.prometheus,
            probe=prober.probe(self._hands.store.children(POD, rollout.uid)),
            positions=plan.positions,
        )
        self._hands.scrapes.begin(rollout.uid, _mark(plan.status), wanted)

    def _compare(self, rollout: ObservedRollout, plan: Plan, sides: tuple[Side, ...]) -> None:
        """Let the student's pods be asked what they read of texts, from the first that runs on."""
        if plan.status.phase not in COMPARED:
            self._hands.tokens.forget(rollout.uid)
            return
        students = (arms.targets(side) for side in sides if side.arm is Arm.STUDENT)
        self._hands.tokens.begin(rollout.uid, [one for found in students for one in found])

    async def _told(self, seen: Subject, refused: Refusals, now: datetime) -> bool:
        """Tell what was refused once, and remember it; returns whether it is news to the plan."""
        before = self._refused.get(seen.rollout.uid, Refusals(known=False))
        self._refused[seen.rollout.uid] = refused
        fresh = [child for child in refused.children if child not in before.children]
        await self._hands.converger.warn(seen, fresh, now)
        return refused != before


def _mark(status: RolloutStatus) -> object:
    """Return what numbers have to be about: those from before a transition say nothing after it."""
    return None if status.transition is None else status.transition.id
