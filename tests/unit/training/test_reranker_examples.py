"""The teacher of the reranker examples."""

from distill_api.sources import Splits
from distill_trainer.preparing import splits

from examples.embedding import corpus
from examples.reranker import teacher


def test_the_examples_teacher_sees_nothing_that_its_student_is_judged_on() -> None:
    rows = [
        corpus.Row(document=f"document {number}", group=f"g{number}", query=f"query {number}")
        for number in range(200)
    ]
    seen = teacher.training_records(rows)
    by_query = {row.query: splits.assign(f"group:{row.group}", Splits()) for row in rows}
    assert {by_query[query] for query in seen.queries} == {"train"}
    assert len(seen.queries) == list(by_query.values()).count("train") > 100
