"""Evaluate: student against teacher on the test split's questions, in quality and in speed."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from distill_api.outcome import Benchmark, Measure
from distill_api.status import EvaluationStatus
from distill_api.teacher import Sampling
from distill_api.wire import Report
from distill_common import wording

from distill_trainer.benchmarking import asking
from distill_trainer.benchmarking import run as benchmark
from distill_trainer.benchmarking.load import Request
from distill_trainer.components import evaluated
from distill_trainer.components.evaluated import Judged
from distill_trainer.components.generator import judge
from distill_trainer.context import Context
from distill_trainer.measures import answering, speed
from distill_trainer.measures.answering import Asked, Match, Values
from distill_trainer.measures.contest import Pair
from distill_trainer.report import answers_page
from distill_trainer.report.material import Folders
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import answers, generating
from distill_trainer.teachers.answers import Ask, Generator, Tell
from distill_trainer.teachers.chat_endpoint import ChatEndpoint
from distill_trainer.teachers.local_generator import LocalGenerator
from distill_trainer.texts import conversation
from distill_trainer.training import generating as courses
from distill_trainer.training.sequences import Taught

SPEED_TOKENS = 32
"""Tokens of each answer whose time is taken: as many by both models, but that a server may end
earlier. What was written is counted."""
SPEED_BATCHES = 2
QUALITY_SHARE = 0.5
"""Part of the stage's progress that measuring quality stands for; speed is the rest."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Models:
    """Both models, as they answer when they are served: without chance."""

    student: LocalGenerator
    teacher: Generator


@dataclass(slots=True)
class Spent:
    """Tokens that the teacher has read and written."""

    tokens: int = 0

    def add(self, _answers: int, tokens: int) -> None:
        """Count the tokens of some answers."""
        self.tokens += tokens


def run(context: Context) -> Report:
    """Measure the trained student and its teacher; write evaluation.json and report.html."""
    return evaluated.run(context, _judge)


def _judge(context: Context, folder: Path, folders: Folders) -> Judged:
    models = _models(context, folders)
    match, tokens = _measure(context, folders.prepared, models)
    models.teacher.close()
    # Their memory is for the servers now.
    del models
    match = replace(match, served=benchmark.run(context, folders, _asking(context, match.asked)))
    status = answering.status(match, context.task.spec.evaluation)
    _write(folder, match, status)
    answers_page.write(folder / evaluated.REPORT, context.task, folders, match, status)
    spent = match.served.cpu_seconds if match.served else 0.0
    return Judged(status, answering.facts(match), tokens, spent)


def _asking(
    context: Context, questions: Sequence[Asked]
) -> Callable[[Benchmark], Pair[list[Request]]]:
    """Return what makes the requests of users: a question each, worded as in training."""

    def requests(_: Benchmark) -> Pair[list[Request]]:
        sampling = context.task.spec.teacher.sampling
        asked = [answers.ask(one.query, one.context, sampling) for one in questions]
        both = asking.answers(context.task, asked)
        return Pair(both, both)

    return requests


def _models(context: Context, folders: Folders) -> Models:
    """Open the student as it will be published, and its teacher."""
    spec = context.task.spec
    greedy = spec.teacher.sampling.model_copy(update={"temperature": 0.0, "top_logprobs": 0})
    folder = evaluated.student_folder(folders)
    made = causal.load(folder, trust=evaluated.trusts(context.task))
    student = LocalGenerator(
        generating.placed(context, made), greedy, spec.evaluation.throughput_batch_size
    )
    if spec.teacher.endpoint is not None:
        return Models(student, generating.open_endpoint(context, spec.teacher.endpoint, greedy))
    weights = generating.placed(context, generating.open_weights(context))
    batch, longest = spec.evaluation.throughput_batch_size, spec.teacher.max_length
    return Models(student, LocalGenerator(weights, greedy, batch, longest))


def _measure(context: Context, prepared: Path, models: Models) -> tuple[Match, int]:
    """Measure quality first, then speed; returns the teacher's tokens, too."""
    spec = context.task.spec
    rows, spent = _test_rows(prepared), Spent()
    asked = [answers.ask(row["query"], row["context"], spec.teacher.sampling) for row in rows]
    texts = _written(context, models, asked, spent)
    questions = [
        Asked(row["query"], row["context"], row["reference"] or text, row["reference"] is not None)
        for row, text in zip(rows, texts.teacher, strict=True)
    ]
    values = _values(context, models, questions, texts)
    evaluation = spec.evaluation
    match = Match(
        asked=questions,
        answers=texts,
        values=values,
        retentions=answering.retentions(values, evaluation, seed=spec.training.seed),
        timings=_timings(context, models, [one.messages for one in asked], spent.add),
        parameters=Pair(causal.parameters(models.student.causal), _parameters(models.teacher)),
    )
    return match, spent.tokens


def _written(context: Context, models: Models, asked: list[Ask], spent: Spent) -> Pair[list[str]]:
    """Let both models answer; the teacher's tokens are counted."""
    tell = evaluated.teller(context, 2 * len(asked), "answers", QUALITY_SHARE)

    def tell_teacher(done: int, tokens: int) -> None:
        spent.add(done, tokens)
        tell(done)

    by_student = models.student.answer(asked, lambda done, _: tell(done))
    by_teacher = models.teacher.answer(asked, tell_teacher)
    return Pair([one.text for one in by_student], [one.text for one in by_teacher])


def _test_rows(prepared: Path) -> list[dict[str, Any]]:
    """Read the different questions of the test split, in the data's order."""
    columns = ["question", "query", "context", "reference"]
    table = pq.read_table(
        prepared / "records.parquet", columns=columns, filters=[("split", "=", "test")]
    )
    return list({row["question"]: row for row in table.to_pylist()}.values())


def _values(
    context: Context, models: Models, asked: list[Asked], texts: Pair[list[str]]
) -> Pair[dict[str, Values]]:
    """Measure both models' answers; what cannot be measured of the teacher is left out."""
    evaluation = context.task.spec.evaluation
    wanted = list(evaluation.measures or Measure)
    wanted += [gate.measure for gate in evaluation.gates or ()]
    found: Pair[dict[str, Values]] = Pair({}, {})
    said = {Measure.ROUGE_L: wording.rouge_l, Measure.TOKEN_F1: wording.token_f1}
    for measure, of in said.items():
        if measure in wanted:
            for own, written in ((found.student, texts.student), (found.teacher, texts.teacher)):
                own[measure.value] = _each(of, written, asked)
    if Measure.LIKELIHOOD in wanted and (alike := _of_same_tokens(models)):
        name = Measure.LIKELIHOOD.value
        found.student[name] = likelihood(alike.student, asked, context)
        found.teacher[name] = likelihood(alike.teacher, asked, context)
    for name, both in judge.values(context, wanted, asked, texts).items():
        found.student[name], found.teacher[name] = both.student, both.teacher
    return found


def _of_same_tokens(models: Models) -> Pair[Causal] | None:
    """Return both models where a token's probability is told of both, and means the same."""
    if not isinstance(models.teacher, LocalGenerator):
        return None
    both = Pair(models.student.causal, models.teacher.causal)
    hashes = {conversation.vocabulary_hash(one.tokenizer) for one in (both.student, both.teacher)}
    return both if len(hashes) == 1 else None


def _each(of: Callable[[str, str], float], written: list[str], asked: list[Asked]) -> Values:
    return np.array([of(text, one.reference) for text, one in zip(written, asked, strict=True)])


def likelihood(model: Causal, asked: Sequence[Asked], context: Context) -> Values:
    """Geometric mean of the probabilities of a reference's tokens, 1 / perplexity: [questions].

    NaN where question and reference together have more tokens than the model has positions.
    """
    sampling = context.task.spec.teacher.sampling
    conversation.ensure_template(model.tokenizer)
    found = []
    for one in asked:
        messages = conversation.chat(one.query, one.context, _without_trace(sampling))
        taught = Taught(
            np.array(conversation.prompt_ids(model.tokenizer, messages), dtype=np.int64),
            np.array(conversation.target_ids(model.tokenizer, one.reference), dtype=np.int64),
        )
        if model.positions is not None and len(taught) > model.positions:
            found.append(np.nan)
            continue
        nll = float(courses.nll_by_row(model, [taught])[0]) / len(taught.target)
        found.append(np.exp(-nll))
    return np.array(found, dtype=np.float64)


def _without_trace(sampling: Sampling) -> Sampling:
    """Ask for the answer alone: a reference has no reasoning before it."""
    return sampling.model_copy(update={"chain_of_thought": False})


def _timings(
    context: Context,
    models: Models,
    asked: Sequence[tuple[tuple[str, str], ...]],
    count: Callable[[int, int], None],
) -> Pair[speed.Timings]:
    """Time both models on the same prompts in turns, each answer of the same length."""
    evaluation = context.task.spec.evaluation
    size = evaluation.throughput_batch_size
    texts = [json.dumps(messages) for messages in asked]
    work = speed.Workload(
        requests=list(islice(cycle(texts), evaluation.latency_requests)),
        batches=speed.batches(list(islice(cycle(texts), SPEED_BATCHES * size)), size),
        rounds=evaluated.rounds(context),
        made=int,
    )
    tokenizer = models.student.causal.tokenizer
    both = Pair(_writer(models.student, tokenizer), _writer(models.teacher, tokenizer, count))
    return evaluated.timed(context, both, work, QUALITY_SHARE)


def _writer(
    model: Generator, tokenizer: Any, count: Tell | None = None
) -> Callable[[Sequence[str]], int]:
    """Return what answers some conversations briefly, and tells how many tokens were written.

    tokenizer: counts the words of a server that tells no numbers.
    """

    def write(texts: Sequence[str]) -> int:
        asked = [answers.Ask(tuple((r, c) for r, c in json.loads(text))) for text in texts]
        if isinstance(model, LocalGenerator):
            own = replace(model, sampling=_short(model.sampling))
            room = (model.causal.positions or sys.maxsize) - SPEED_TOKENS
            read = partial(conversation.prompt_ids, model.causal.tokenizer)
            prompts = [read(one.chat)[-room:] for one in asked]
            return sum(map(len, own.write(prompts, [0] * len(asked), least=SPEED_TOKENS)))
        brief = model.brief(SPEED_TOKENS) if isinstance(model, ChatEndpoint) else model
        found = brief.answer(asked, count)
        return sum(one.tokens or len(tokenizer(one.text)["input_ids"]) for one in found) or 1

    return write


def _short(sampling: Sampling) -> Sampling:
    return sampling.model_copy(update={"max_tokens": SPEED_TOKENS})


def _parameters(model: Generator) -> int:
    """Count the weights; 0 behind an endpoint, where nobody knows."""
    return causal.parameters(model.causal) if isinstance(model, LocalGenerator) else 0


def _write(folder: Path, match: Match, status: EvaluationStatus) -> None:
    """Write evaluation.json: the status, each question's values, and the worst answers."""
    both = (("student", match.values.student), ("teacher", match.values.teacher))
    content = {
        "evaluation": status.model_dump(mode="json", by_alias=True),
        "perQuestion": {
            name: {measure: [_json(value) for value in found] for measure, found in values.items()}
            for name, values in both
        },
        "unscored": match.unscored,
        "referencesFromData": sum(one.from_data for one in match.asked),
        "speedTokens": SPEED_TOKENS,
        "latencySeconds": evaluated.latencies(match.timings),
        **evaluated.under_load(match.served),
        "worst": answering.worst(match, 100),
    }
    evaluated.write_json(folder, content)


def _json(value: float) -> float | None:
    """Return a number that JSON has; unscored is null."""
    return round(float(value), 6) if np.isfinite(value) else None
