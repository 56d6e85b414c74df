"""The verdict: which gates held, which did not, in a sentence with numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from distill_api.outcome import Evaluation, Gate, Measure

from distill_trainer.measures import served, telling
from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.served import Served

DEFAULT = (Gate(measure=Measure.NDCG_10, min_retention=0.93),)
"""The guide's 93 % on the usual measure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the student may be published, and why."""

    verdict: Literal["Passed", "Missed"]
    explanation: str


def gates(evaluation: Evaluation) -> Sequence[Gate]:
    """Return the gates of a spec, or the default one."""
    return DEFAULT if evaluation.gates is None else evaluation.gates


def judge(
    evaluation: Evaluation,
    retentions: Mapping[str, Retention | None],
    speedup: float,
    load: Served | None = None,
) -> Verdict:
    """Compare retention with each gate, and speed with the least speed-up, where one is asked.

    retentions: by measure; None where the teacher itself scores 0 or nothing could be scored, which
    misses the gate.
    load: how the student's server bore its load, where that was measured; it has its own gates.
    """
    outcomes = [_gate(gate, retentions.get(gate.measure.value)) for gate in gates(evaluation)]
    if evaluation.min_speedup is not None:
        held = speedup >= evaluation.min_speedup
        times = telling.beside(
            speedup, evaluation.min_speedup, kept=telling.SPEEDUP_DECIMALS, decimals=2
        )
        told = f"speed-up {times} (at least {evaluation.min_speedup:g} was asked)"
        outcomes.append((held, told))
    if load is not None:
        outcomes += served.outcomes(load)
    if not outcomes:
        return Verdict("Passed", "No gate was asked for.")
    missed = [told for held, told in outcomes if not held]
    kept = [told for held, told in outcomes if held]
    sentences = [
        f"{word}: {', '.join(told)}." for word, told in (("Missed", missed), ("Held", kept)) if told
    ]
    return Verdict("Missed" if missed else "Passed", " ".join(sentences))


def _gate(gate: Gate, found: Retention | None) -> tuple[bool, str]:
    if found is None:
        why = "as the teacher itself scores 0, or nothing could be scored of both"
        return False, f"{gate.measure.value} cannot be judged, {why}"
    kept, least = telling.RETENTION_DECIMALS, gate.min_retention
    share = telling.beside(found.value, least, kept=kept, decimals=1, form="%")
    interval = f"{telling.percent(found.low)} to {telling.percent(found.high)}"
    told = (
        f"{gate.measure.value} keeps {share} of the teacher's"
        f" (interval {interval}, at least {least:.1%} asked)"
    )
    return found.value >= least, told
