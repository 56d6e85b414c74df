"""The model repository, written into a student's folder beside its graph and its tokenizer."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import onnx
from distill_api import triton
from distill_api.exports import TritonRepository
from distill_api.names import Reason
from distill_api.token_ids import TOKEN_IDS_FILE, Sample, TextKind, TokenIds
from distill_common import cores, graphs, sessions
from google.protobuf import text_format

from distill_trainer.errors import BadInput
from distill_trainer.triton import configs
from distill_trainer.triton.configs import Batching, Shape
from distill_trainer.triton.reading import Reader, Settings

HERE: Final = Path(__file__).parent
SHARED: Final = (Path(sessions.__file__), Path(cores.__file__))
"""What the Python backend does as our server does: modules that need nothing of ours."""
VERSION: Final = "1"
ONNX_GRAPH: Final = "model.onnx"
"""What the ONNX Runtime backend looks for in a version's folder."""
INPUT_TYPES: Final = {TextKind.QUERY: "query", TextKind.DOCUMENT: "document"}


def write(folder: Path, wanted: TritonRepository, *, weights: str) -> Path:
    """Write the repository into a student's folder, and return it.

    weights: digest of the student's weights. In the Python backend the graph stays where it is, as
    the tokenizer does; the ONNX Runtime backend gets a copy.
    Raises BadInput where the folder lacks a graph, or a tokenizer that reads as training did.
    """
    graph, token_ids = _graph(folder), _token_ids(folder)
    batching, python = _batching(wanted), wanted.backend == "Python"
    shape, settings = _shape(graph), _settings(folder, batching, rounded=not python)
    _refuse_other_tokens(Reader(_tokenizer(folder), settings), token_ids)
    root = folder / triton.FOLDER
    whole = configs.ensemble(shape, weights, batching)
    _put(root / triton.MODEL, whole)
    _put(root / f"{triton.MODEL}{triton.PROBE}", whole)
    read = (folder / TOKEN_IDS_FILE).read_text(encoding="utf-8")
    tokens = configs.tokens(shape, asdict(settings), read, batching)
    _put(root / triton.TOKENS, tokens, (HERE / "tokens_model.py", HERE / "reading.py"))
    _put_graph(root, graph, shape, batching, settings if python else None)
    return root


def _batching(wanted: TritonRepository) -> Batching:
    return Batching(
        most=wanted.max_batch_size,
        preferred=tuple(sorted(set(wanted.preferred_batch_sizes))),
        delay_microseconds=wanted.max_queue_delay_microseconds,
        instances=wanted.instances,
    )


def _put_graph(
    root: Path, graph: Path, shape: Shape, batching: Batching, settings: Settings | None
) -> None:
    place = root / triton.GRAPH
    if settings is None:
        _put(place, configs.graph(shape, batching, None))
        shutil.copyfile(graph, place / VERSION / ONNX_GRAPH)
        if (weights := graph.with_name(f"{graph.name}.data")).is_file():
            # Of a graph of 2 GB or more; it is found by its name.
            shutil.copyfile(weights, place / VERSION / weights.name)
        return
    computing = {
        "graph": graph.relative_to(root.parent).as_posix(),
        "pad": settings.pad,
        "pad_left": settings.pad_left,
    }
    code = (HERE / "graph_model.py", HERE / "computing.py", *SHARED)
    _put(place, configs.graph(shape, batching, computing), code)


def _put(place: Path, config: Any, code: tuple[Path, ...] = ()) -> None:
    """Write a model's folder; code: the module that becomes model.py, and those beside it."""
    version = place / VERSION
    version.mkdir(parents=True)
    (place / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
    for number, module in enumerate(code):
        shutil.copyfile(module, version / (module.name if number else "model.py"))
    if not code:
        # Archives and stores keep no empty folders, and Triton wants one for each version.
        (version / "README.md").write_text("See config.pbtxt.\n", encoding="utf-8")


def _graph(folder: Path) -> Path:
    """Return the graph that is served: the quantised one where there is one."""
    for name in (graphs.QUANTIZED, graphs.FLOAT):
        if (found := folder / graphs.FOLDER / name).is_file():
            return found
    raise BadInput(
        Reason.BAD_MODEL,
        "There is no ONNX graph for export.tritonRepository to serve: add export.onnx, or"
        " quantize.method INT8",
    )


def _shape(graph: Path) -> Shape:
    found = onnx.load(str(graph), load_external_data=False).graph
    weights = {entry.name for entry in found.initializer}
    (output,) = found.output
    last = output.type.tensor_type.shape.dim[-1]
    pairs = output.name == graphs.SCORE
    return Shape(
        inputs=tuple(entry.name for entry in found.input if entry.name not in weights),
        output=output.name,
        width=1 if pairs else last.dim_value or configs.LENGTH,
        pairs=pairs,
    )


def _settings(folder: Path, batching: Batching, *, rounded: bool) -> Settings:
    tokenizer = _json(folder / "tokenizer_config.json")
    student = _json(folder / "config_sentence_transformers.json")
    prompts = {k: v for k, v in (student.get("prompts") or {}).items() if v is not None}
    return Settings(
        pad=_pad(folder, tokenizer),
        pad_left=tokenizer.get("padding_side") == "left",
        cut_left=tokenizer.get("truncation_side") == "left",
        max_length=_token_ids(folder).max_length,
        prompts=prompts,
        default_prompt=student.get("default_prompt_name"),
        rounded=rounded,
        most=batching.most,
    )


def _pad(folder: Path, config: Mapping[str, Any]) -> int:
    from tokenizers import Tokenizer

    token = config.get("pad_token")
    name = token.get("content") if isinstance(token, dict) else token
    found = Tokenizer.from_file(str(_tokenizer(folder))).token_to_id(name) if name else None
    return int(found or 0)


def _tokenizer(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BadInput(
            Reason.BAD_MODEL,
            "export.tritonRepository needs a fast tokenizer (tokenizer.json), which the student"
            " does not have: remove tritonRepository, or serve with runtime Torch",
        )
    return path


def _token_ids(folder: Path) -> TokenIds:
    path = folder / TOKEN_IDS_FILE
    if not path.is_file():
        raise BadInput(
            Reason.BAD_MODEL,
            f"export.tritonRepository needs {TOKEN_IDS_FILE}, which the training of this release"
            " leaves: train the student anew",
        )
    return TokenIds.model_validate_json(path.read_text(encoding="utf-8"))


def _refuse_other_tokens(reader: Reader, trained: TokenIds) -> None:
    """Raise BadInput where the repository would read a text otherwise than training did."""
    for sample in trained.samples:
        if _read(reader, sample) != sample.tokens:
            raise BadInput(
                Reason.BAD_MODEL,
                f"Triton would read the {sample.kind.lower()} {sample.name!r} otherwise than the"
                " training did, as this tokenizer does more than its tokenizer.json says: remove"
                " export.tritonRepository, and serve the student with runtime OnnxRuntime",
            )


def _read(reader: Reader, sample: Sample) -> list[int]:
    if sample.kind is TextKind.PAIR:
        found = reader.pairs(sample.query or "", [sample.text])
    else:
        found = reader.texts([sample.text], INPUT_TYPES[sample.kind])
    kept = found["attention_mask"][0] == 1
    ids: list[int] = found["input_ids"][0][kept].tolist()
    return ids


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
