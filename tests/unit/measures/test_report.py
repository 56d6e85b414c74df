"""The report: one page that shows everything and needs nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from distill_api.outcome import Benchmark
from distill_api.status import EvaluationStatus, Score, Speed
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.served import Load, Served, Tokens
from distill_trainer.report import document
from distill_trainer.report.material import Material

SCORE = Score(
    measure="nDCG@10",
    student="0.8123",
    teacher="0.8456",
    retention="0.9606",
    retention_low="0.9512",
    retention_high="0.9700",
)
SPEED = Speed(
    p50_milliseconds="2.5", p95_milliseconds="3.5", p99_milliseconds="4.5", items_per_second="512.0"
)
STATUS = EvaluationStatus(
    verdict="Passed",
    explanation="Held: nDCG@10 keeps 96.1%.",
    scores=[SCORE],
    student=SPEED,
    teacher=SPEED,
    speedup="3.412",
    student_parameters=11_000_000,
    teacher_parameters=22_000_000,
    queries=123,
    documents=4567,
)
EVIL = "<script>alert('q')</script>"


def material(**changes: object) -> Material:
    made = {
        "title": "team/job",
        "made": "2026-11-25 08:00 UTC",
        "status": STATUS,
        "curve": [
            {"step": 0, "validation": 0.2},
            {"step": 1, "loss": 2.0},
            {"step": 2, "loss": 1.0, "validation": 0.6},
        ],
        "latencies": Pair((0.001, 0.002, 0.003), (0.004, 0.005, 0.006)),
        "widths": {64: 0.7, 128: 0.8},
        "mistakes": [
            {"query": EVIL, "answer": "right", "studentFirst": "wrong", "studentRank": None,
             "teacherRank": 1, "lost": 1.0}
        ],
        "regressions": 17,
        "card": {
            "rows": 700, "queries": 248, "documents": 698,
            "records": {"train": 231, "validation": 13, "test": 40},
            "groups": {"train": 20, "validation": 3, "test": 4},
            "dropped": {"duplicate": 12}, "leakage": {"queries": 0, "documents": 0},
        },
        "lineage": {"Teacher": "sha256:abc", "Seed": "42"},
        "trained": Path("a/folder/without/a/sweep"),
        "quantization": {},
        "served": None,
        "recipe": "recipe:\n  embedding: {}\n",
    }  # fmt: skip
    return Material(**(made | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page() -> str:
    return document.render(material())


class Outline(HTMLParser):
    """Collects what a page refers to and whether its tags are closed."""

    VOID = frozenset({"meta", "path", "use", "rect"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.headings = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.headings += tag == "h2"
        self.references += [v for k, v in attrs if k in {"src", "href", "xlink:href"} and v]
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_it_refers_to_nothing_outside_itself(page: str):
    outline = Outline(page)
    assert outline.open == []
    assert outline.headings == 7
    assert all(reference.startswith("#") for reference in outline.references)
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page
    assert "@import" not in page


def test_ids_of_its_pictures_never_meet(page: str):
    outline = Outline(page)
    assert len(outline.ids) > 100
    assert len(outline.ids) == len(set(outline.ids))
    named = {reference.removeprefix("#") for reference in outline.references}
    named |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert named <= set(outline.ids)


def test_texts_of_the_data_are_escaped(page: str):
    assert EVIL not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "shown",
    ["96.1 %", "3.41 ×", "0.8123", "95.1 – 97.0 %", "11,000,000", "4,567", "sha256:abc",
     "17 of 123", "student not found", "duplicate 12", "0.7000"],
)  # fmt: skip
def test_it_shows_the_numbers(page: str, shown: str):
    assert shown in page


def test_pictures_take_their_colours_from_the_page(page: str):
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) == 5
    assert all("currentColor" in drawing for drawing in drawings)
    assert sum("var(--student)" in drawing for drawing in drawings) == 5
    assert "#010203" not in page


def test_without_cut_embeddings_there_is_no_section_about_them():
    assert "Cut embeddings" not in document.render(material(widths={}))


ASKED = Benchmark(requests_per_second=50)
LOAD = Load((0.007, 0.012), failures=0, span=0.04, memory=700 * 2**20, late=0.0)


def drawings(page: str) -> int:
    return len(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))


def test_what_was_served_under_load_is_told_and_drawn_of_both():
    page = document.render(material(served=Served(ASKED, LOAD, LOAD)))
    for shown in ("Served under load", "50.0 requests arrived", "11.75", "50.00", "700"):
        assert shown in page, shown
    assert drawings(page) == 6
    assert "Tokens/s" not in page
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    alone = Served(ASKED, LOAD, remark="The teacher is behind an endpoint.")
    page = document.render(material(served=alone))
    assert "The teacher is behind an endpoint." in page
    assert "at the same moments" not in page


def test_tokens_under_load_are_told_and_drawn_of_both():
    quick = replace(LOAD, tokens=Tokens((0.003, 0.005), (0.001, 0.002), 14))
    slow = replace(LOAD, tokens=Tokens((0.03, 0.05), (), 2))
    page = document.render(material(served=Served(ASKED, quick, slow)))
    for shown in ("vLLM, which will serve", "4.90", "1.95", "350.00", "Tokens/s", "first token"):
        assert shown in page, shown
    assert page.count("each output token") == 1, "single tokens have no time between two"
    assert drawings(page) == 8
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_equal_material_gives_an_equal_page(page: str):
    assert document.render(material()) == page


def test_a_missed_gate_is_plain_to_see():
    missed = STATUS.model_copy(update={"verdict": "Missed", "explanation": "Missed: R@1."})
    assert "A gate was missed" in document.render(material(status=missed))
