"""Which questions a model that writes is asked: a choice that is the same after every restart."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from distill_api.rollout_policies import Generation
from distill_api.teacher import Sampling
from distill_common import asking
from distill_common.rows import BadRows, Question

from distill_server.prober.material import Material


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what answers it."""

    text: str
    context: str
    reference: str


@dataclass(frozen=True, slots=True)
class Prompts:
    """Everything that is sent to arms that write."""

    questions: tuple[Asked, ...]
    generation: Generation
    digest: str

    @property
    def count(self) -> int:
        """How many questions there are."""
        return len(self.questions)

    @property
    def told(self) -> str:
        """What there is, for the log."""
        return f"{self.count} questions with reference answers"

    def messages(self, number: int) -> list[asking.Message]:
        """Return the conversation of a question, counted from 1, as training makes it."""
        one, how = self.questions[number - 1], self.generation
        sampling = Sampling(system_prompt=how.system_prompt, chain_of_thought=how.chain_of_thought)
        return asking.chat(one.text, one.context, sampling)


type Sent = Material | Prompts


def choose(
    records: Iterable[Question | None], generation: Generation, *, most: int, models: str
) -> Prompts:
    """Choose questions by the hashes of their texts, whatever their order in the data.

    models: names what both arms serve where the servers themselves do not. Raises BadRows where no
    question has a reference.
    """
    known: dict[str, Asked] = {}
    for record in records:
        if record is not None and record.answer:
            asked = Asked(record.query, record.context, record.answer)
            known.setdefault(_digest(repr((asked.text, asked.context))), asked)
    if not known:
        raise BadRows(
            "The data has no question with a reference answer, and answers are measured by nothing"
            " else: check the columns query, context and answer"
        )
    chosen = tuple(known[name] for name in sorted(known)[:most])
    digest = _digest(repr((chosen, generation.model_dump(), models)))
    return Prompts(chosen, generation, digest)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
