"""What the student's pods read, against its training: the worst pod counts, and both are shown."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from distill_operator.plan.rollout import tokens
from distill_operator.plan.rollout.model import (
    Difference,
    ObservedArm,
    ObservedArtifact,
    ObservedPod,
    ObservedTokens,
    PodTokens,
)
from distill_operator.plan.rollout.tokens import Fidelity
from hypothesis import assume, given
from rollout_world import ALIKE

ARTIFACT = ObservedArtifact(job="minilm", token_ids_digest=ALIKE.digest)
OTHER = PodTokens(
    texts=18, difference=Difference("the query 'short'", "a", (101, 1037, 102), (101, 102))
)
ABSENT = PodTokens(absent="it has no token_ids.json")
SILENT = PodTokens(problem="it did not answer")
ids = st.lists(st.integers(0, 5), min_size=1, max_size=30).map(tuple)


def an_arm(*pods: str, ready: bool = True) -> ObservedArm:
    found = tuple(ObservedPod(name, name, "r", ready) for name in pods)
    return ObservedArm(ready_endpoints=len(pods) if ready else 0, pods=found)


def look(**pods: PodTokens | None) -> tokens.TokenSight:
    found = {name: told for name, told in pods.items() if told is not None}
    return tokens.look(ObservedTokens(found), an_arm(*pods), ARTIFACT)


CASES = [
    ("every pod reads as in training", {"a": ALIKE, "b": ALIKE}, Fidelity.ALIKE),
    ("one of two differs", {"a": ALIKE, "b": OTHER}, Fidelity.DIFFERENT),
    ("a difference outweighs silence", {"a": SILENT, "b": OTHER}, Fidelity.DIFFERENT),
    ("silence outweighs what cannot be checked", {"a": SILENT, "b": ABSENT}, Fidelity.UNANSWERED),
    ("a pod that was not asked yet", {"a": ALIKE, "b": None}, Fidelity.UNANSWERED),
    ("nothing to compare with", {"a": ALIKE, "b": ABSENT}, Fidelity.UNCHECKED),
    (
        "alike, but with the file of another training",
        {"a": replace(ALIKE, digest="sha256:" + "2" * 64)},
        Fidelity.DIFFERENT,
    ),
]


@pytest.mark.parametrize(("why", "pods", "expected"), CASES, ids=[case[0] for case in CASES])
def test_the_worst_pod_counts(why: str, pods: dict[str, PodTokens | None], expected: Fidelity):
    assert look(**pods).fidelity is expected


def test_both_sequences_are_shown_where_they_part():
    assert look(b=OTHER).different == (
        "pod b reads the query 'short' 'a' otherwise than in training, from token 2 on:"
        " [101 102] (2 tokens) where training had [101 1037 102] (3 tokens). Serve the artifact as"
        " it was published, with the server of the release that trained it, or train anew"
    )


def test_what_is_alike_says_how_much_was_compared():
    said = look(a=ALIKE, b=ALIKE).sentence
    assert said == "pod a reads 18 texts token by token as in training, and so do 1 more"


def test_pods_that_go_or_are_not_ready_say_nothing():
    arm = an_arm("a")
    leaving = ObservedPod("b", "b", "r", ready=True, deleting=True)
    arm = replace(arm, pods=(*arm.pods, leaving, ObservedPod("c", "c", "r", ready=False)))
    seen = ObservedTokens({"a": ALIKE, "b": OTHER, "c": OTHER})
    assert tokens.look(seen, arm, ARTIFACT).fidelity is Fidelity.ALIKE


def test_a_service_without_pods_cannot_be_checked_and_one_that_is_down_is_unanswered():
    behind = ObservedArm(ready_endpoints=2)
    assert tokens.look(ObservedTokens(), behind, ARTIFACT).fidelity is Fidelity.UNCHECKED
    down = tokens.look(ObservedTokens(), an_arm("a", ready=False), ARTIFACT)
    assert down.fidelity is Fidelity.UNANSWERED
    never = tokens.look(ObservedTokens(known=False), an_arm("a"), ARTIFACT)
    assert never.fidelity is Fidelity.UNANSWERED


@given(one=ids, other=ids)
def test_all_before_the_parting_is_equal_and_the_place_itself_is_not(
    one: tuple[int, ...], other: tuple[int, ...]
):
    assume(one != other)
    place = tokens.parting(one, other)
    assert place == tokens.parting(other, one)
    assert one[:place] == other[:place]
    assert one[place : place + 1] != other[place : place + 1]


@given(sequence=ids, place=st.integers(0, 30))
def test_what_is_shown_is_short_and_holds_the_place(sequence: tuple[int, ...], place: int):
    said = tokens.shown(sequence, place)
    words = said[1 : said.index("]")].split()
    assert len(words) <= tokens.BEFORE + tokens.AFTER + 2
    assert said.endswith(f"({len(sequence)} tokens)")
    assert place >= len(sequence) or str(sequence[place]) in words
