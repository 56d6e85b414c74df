"""Tiny models that expand and rewrite queries, and data whose documents only transforms find."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tiny_causal
import torch
from distill_api.recipe import QueryTransformRecipe
from distill_api.teacher import Sampling
from distill_api.training import Training
from distill_trainer.students import causal, seq2seq
from distill_trainer.students.causal import Causal
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.texts import conversation, querying
from distill_trainer.texts.querying import Query
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.seq2seq import Seq2SeqCourse
from distill_trainer.training.sequences import Taught
from tokenizers import processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

WORDS = [*tiny_causal.WORDS, "|||", "what", "about", "?"]
EXPAND = QueryTransformRecipe.model_validate({"outputs": {}, "expansions": 2})
REWRITE = QueryTransformRecipe.model_validate({"outputs": {}, "task": "Rewrite"})
CPU = torch.device("cpu")
SAMPLING = Sampling(temperature=0)
STEPS = 150
"""In which a tiny model learns to be a teacher."""

type Row = tuple[Query, list[str], str]
"""A query, its transforms, and the document that it looks for."""


def expansions(count: int) -> list[Row]:
    """Make queries that share no word with their document; an expansion does."""
    found = []
    for number in range(count):
        one, other = number % 10, (number // 10) % 10
        kept = [f"b{one} e{other}", f"c{one} e{other}"]
        document = f"c{one} b{one} e{other} f{number % 7} f{(number * 3) % 10}"
        found.append((Query(f"a{one} d{other}"), kept, document))
    return found


def rewrites(count: int) -> list[Row]:
    """Make follow-up questions whose subject was named in the turn before."""
    found = []
    for number in range(count):
        one, other = number % 10, (number // 10) % 10
        query = Query(f"what about d{other} ?", (f"what about a{one} c{other} ?",))
        found.append((query, [f"a{one} d{other}"], f"a{one} d{other} f{number % 7} b{one}"))
    return found


def write_data(path: Path, rows: list[Row]) -> None:
    """Write the records as JSON lines, with some documents that no query looks for."""
    lines: list[dict[str, object]] = [
        {"query": query.text, "context": list(query.turns), "document": document, "group": f"g{n}"}
        for n, (query, _, document) in enumerate(rows)
    ]
    lines += [{"document": f"f{n % 10} d{n // 10} f{(n * 7) % 10}"} for n in range(30)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def tokenizer() -> PreTrainedTokenizerFast:
    """Make the causal model's tokenizer as T5 has it: what is read gets its end, padding is 1."""
    made = tiny_causal.tokenizer(WORDS)
    end = made.eos_token_id
    made._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", end)]
    )
    made.pad_token = "<s>"  # noqa: S105 - a word of the vocabulary
    made.chat_template = None
    return made


def encoder_decoder(layers: int = 2, *, dropout: float = 0.0, padded: int = 8) -> Seq2Seq:
    """Make a T5 of random weights. padded: rows of the head beyond the tokenizer's tokens."""
    known = tokenizer()
    config = T5Config(
        vocab_size=len(known) + padded,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=layers,
        num_heads=4,
        dropout_rate=dropout,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=known.pad_token_id,
        pad_token_id=known.pad_token_id,
        eos_token_id=known.eos_token_id,
    )
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        torch.manual_seed(0)
        T5ForConditionalGeneration(config).save_pretrained(folder)
        known.save_pretrained(folder)
        return seq2seq.load(Path(folder))


def decoder(layers: int = 4) -> Causal:
    """Make a causal model of random weights."""
    return tiny_causal.model(layers=layers, words=WORDS)


def taught_seq2seq(model: Seq2Seq, rows: list[Row], read: Callable[[Query], str]) -> Seq2Seq:
    """Teach an encoder-decoder what to write after what `read` makes of a query."""
    examples = [
        Taught(
            np.array(seq2seq.source_ids(model.tokenizer, read(query))),
            np.array(seq2seq.target_ids(model.tokenizer, querying.written(kept))),
        )
        for query, kept, _ in rows
    ]
    settings = Training.model_validate({"maxSteps": STEPS, "batchSize": 32})
    course = Seq2SeqCourse(EXPAND, settings, model, examples, examples, CPU, model.known)
    _teach(course)
    return model


def taught_causal(model: Causal, *lessons: tuple[list[Row], QueryTransformRecipe]) -> Causal:
    """Teach a causal model to transform queries when it is asked in our words."""
    known = model.tokenizer
    conversation.ensure_template(known)
    examples = [
        Taught(
            np.array(conversation.prompt_ids(known, querying.chat(query, wanted, SAMPLING))),
            np.array(conversation.target_ids(known, querying.written(kept))),
        )
        for rows, recipe in lessons
        for wanted in [querying.wanted(recipe)]
        for query, kept, _ in rows
    ]
    settings = Training.model_validate({"maxSteps": STEPS, "batchSize": 32})
    _teach(GeneratorCourse(EXPAND, settings, model, examples, examples, CPU, len(known)))
    return model


def _teach(course: Seq2SeqCourse | GeneratorCourse) -> None:
    adamw = torch.optim.AdamW(course.student.parameters(), lr=5e-3)
    course.student.train()
    for step in range(course.steps):
        for group in adamw.param_groups:
            group["lr"] = 5e-3 * min(1, (step + 1) / 10) * (1 - step / course.steps)
        adamw.zero_grad()
        course.learn(step)
        torch.nn.utils.clip_grad_norm_(course.student.parameters(), 1.0)
        adamw.step()
    course.student.eval()


def instructed(query: Query) -> str:
    """Return what an encoder-decoder teacher reads: the whole instruction."""
    return querying.chat(query, querying.wanted(EXPAND), SAMPLING)[0]["content"]


def save(model: Causal | Seq2Seq, folder: Path) -> Path:
    """Write a model's folder."""
    if isinstance(model, Causal):
        causal.save(model, folder)
    else:
        seq2seq.save(model, folder, most=16)
    return folder
