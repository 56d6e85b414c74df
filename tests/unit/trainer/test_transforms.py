"""What is read out of a model's text as expansions or a rewrite, and what is thrown away."""

import math

import pytest
from distill_api.recipe import QueryTransformTask
from distill_trainer.texts import querying, transforms
from distill_trainer.texts.querying import Query, Wanted
from distill_trainer.texts.transforms import Dropped

EXPAND = Wanted(QueryTransformTask.EXPANSION, 3)
REWRITE = Wanted(QueryTransformTask.REWRITE, 1)
BALL = Query("basketball")
THREE = ("basketball game", "NBA scores", "court sport")


@pytest.mark.parametrize(
    "text",
    [
        "basketball game ||| NBA scores ||| court sport",
        "Here are three:\nbasketball game ||| NBA scores ||| court sport |||",
        "1. basketball game\n2. NBA scores\n3. court sport",
        "Sure! Here you go:\n\n1) **basketball game**\n2) **NBA scores**\n3) **court sport**",
        "1. basketball game 2. NBA scores 3. court sport",
        '- "basketball game"\n- "NBA scores"\n- "court sport"',
        '```json\n["basketball game", "NBA scores", "court sport"]\n```',
        '{"queries": [{"query": "basketball game"}, {"query": "NBA scores"}, "court sport"]}',
        "query1: basketball game ||| query2: NBA scores ||| query3: court sport",
        "basketball game\nNBA scores\ncourt sport\n",
    ],
)
def test_a_list_is_read_in_whatever_form_it_comes(text: str):
    assert transforms.read(text, BALL, EXPAND).kept == THREE


@pytest.mark.parametrize(
    ("text", "kept", "dropped"),
    [
        (
            "Basketball! ||| NBA ||| court sport ||| nba",
            ("NBA", "court sport"),
            [Dropped.SAME, Dropped.REPEATED],
        ),
        (
            "NBA scores ||| scores NBA ||| hoops ||| court sport ||| dunk contest",
            ("NBA scores", "hoops", "court sport"),
            [Dropped.REPEATED, Dropped.SURPLUS],
        ),
        (
            f"NBA ||| {'very ' * 70}long ||| hoops",
            ("NBA", "hoops"),
            [Dropped.LONG],
        ),
    ],
)
def test_what_adds_nothing_is_dropped_with_its_reason(
    text: str, kept: tuple[str, ...], dropped: list[Dropped]
):
    found = transforms.read(text, BALL, EXPAND)
    assert (found.kept, list(found.dropped)) == (kept, dropped)


def test_a_query_with_other_words_in_between_is_no_expansion():
    query = Query("how do I sort a long list in python")
    told = "how do I sort a long list in python 3 ||| ordering arrays ||| list.sort example"
    assert transforms.read(told, query, EXPAND).dropped == (Dropped.NEAR,)


@pytest.mark.parametrize(
    ("text", "few"),
    [("I like basketball.", False), ("", False), ("basketball ||| Basketball", True)],
)
def test_what_is_no_list_teaches_nothing(text: str, few: bool):  # noqa: FBT001 - a case
    found = transforms.read(text, BALL, EXPAND)
    assert found.kept == ()
    assert (found.unreadable, found.few) == (not few, few)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("What are alternatives to T5?", ("What are alternatives to T5?",)),
        ('Rewritten question: "What are alternatives to T5?"', ("What are alternatives to T5?",)),
        ("Here it is:\nWhat are alternatives to T5?", ("What are alternatives to T5?",)),
        ("What about it?\n\nIt means T5.", ()),
        ("word " * 70, ()),
        (" ", ()),
    ],
)
def test_a_rewrite_is_one_question(text: str, kept: tuple[str, ...]):
    found = transforms.read(text, Query("What about alternatives?", ("What is T5?",)), REWRITE)
    assert found.kept == kept
    assert found.unreadable == (not kept)


def test_expansions_are_apart_as_far_as_their_words_are():
    assert transforms.distinctness(("a b", "c d")) == 1
    assert transforms.distinctness(("a b", "b c", "a b")) == pytest.approx(1 - (0.5 + 1 + 0.5) / 3)
    assert math.isnan(transforms.distinctness(("a b",)))


def test_what_is_written_is_read_again():
    text = querying.written(THREE)
    assert transforms.read(text, BALL, EXPAND).kept == THREE


def test_the_prompt_has_the_query_the_form_and_the_turns():
    sampling = querying.Sampling()
    asked = querying.chat(BALL, EXPAND, sampling)[-1]["content"]
    assert asked.endswith("for: basketball\nFormat: query1 ||| query2 ||| query3")
    query = Query("What about {alternatives}?", ("What is T5?",))
    asked = querying.chat(query, REWRITE, sampling)[-1]["content"]
    assert "- What is T5?\n\nLast question: What about {alternatives}?" in asked
    source = querying.source(query, QueryTransformTask.REWRITE)
    assert source == "rewrite query: What is T5? ||| What about {alternatives}?"
