"""Rolls the student of `examples.generator.demo` out beside its teacher, both on real vLLM servers.

    python -m examples.generator.rollout FOLDER_OF_THE_DEMO

Teacher, student and held-out questions are pushed to the development cluster's registry; users ask
through its gateway. At the end it prints what each server counted of itself.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from devcluster import Cluster, gateways, traffic
from devcluster.images import loading
from distill_api.teacher import Sampling
from distill_common import asking

from examples.embedding import corpus, fixtures, install
from examples.embedding.install import NAMESPACE, ROOT, step
from examples.generator import demo, servers
from examples.rollout import running
from examples.rollout.running import Load, Manifest

ROLLOUT = ROOT / "examples" / "rollout" / "generator-demo.yaml"
HELD_OUT = 60
PER_SECOND = 0.5
ANSWER_TOKENS = 8


def main() -> int:
    """Roll the student out; 0 when it was promoted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    cluster = step("cluster", lambda: Cluster.attach_or_up(addons={"registry", "gateway"}))
    step("images", lambda: install.load_images(cluster))
    image = step("image of vLLM", lambda: loading.bring(cluster, "vllm", ROOT))
    step("operator", lambda: install.operator(cluster))
    gateway = step("gateway", lambda: gateways.make(cluster, NAMESPACE, "public"))
    rows = held_out(folder)
    rollout = step("models", lambda: describe(cluster.registry, folder, image, rows))
    load = Load(requests(rollout, rows, gateway.url), PER_SECOND, 60.0, 600.0)
    status = running.roll_out(cluster, rollout, load)
    servers.show(cluster, NAMESPACE, rollout["metadata"]["name"])
    print(f"  To remove it: kubectl -n {NAMESPACE} delete drollout {rollout['metadata']['name']}")
    return 0 if status["phase"] == "Promoted" else 1


def held_out(folder: Path) -> list[dict[str, str]]:
    """Return questions that the student never saw; what they document answers them."""
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    seen = {json.loads(line)["query"] for line in lines}
    return [row for row in _answered() if row["query"] not in seen][:HELD_OUT]


def _answered() -> Iterator[dict[str, str]]:
    """Yield questions with the docstring's first sentence as the answer."""
    for row in demo.questions():
        if (sentence := corpus.FIRST_SENTENCE.match(row["context"])) is not None:
            yield row | {"answer": sentence.group()}


def describe(registry: str, folder: Path, image: str, rows: list[dict[str, str]]) -> Manifest:
    """Push everything and return the rollout with its addresses."""
    rollout: Manifest = yaml.safe_load(ROLLOUT.read_text(encoding="utf-8"))
    rollout["metadata"]["namespace"] = NAMESPACE
    spec = rollout["spec"]
    for arm in ("teacher", "student"):
        spec[arm]["deployment"] = spec[arm]["deployment"] | {"image": image}
    student = fixtures.push_folder(demo.published(folder), f"{registry}/models/smollm2-half")
    uri, _, digest = student.partition("@")
    spec["artifact"] = {"uri": uri, "digest": digest, "plainHttp": True}
    teacher = fixtures.push_folder(folder / "teacher", f"{registry}/teachers/smollm2-135m-instruct")
    spec["teacher"]["deployment"]["model"] = {"uri": teacher, "plainHttp": True}
    spec["prober"]["queries"] = {"uri": _push_rows(registry, rows), "plainHttp": True}
    return rollout


def _push_rows(registry: str, rows: list[dict[str, str]]) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        (made := Path(scratch, "rows")).mkdir()
        demo.write_rows(made / "rows.jsonl", rows)
        return fixtures.push_folder(made, f"{registry}/datasets/stdlib-questions-held-out")


def requests(rollout: Manifest, rows: list[dict[str, str]], url: str) -> list[traffic.Request]:
    """Return what users ask: short answers, worded as in training."""
    (hostname,) = rollout["spec"]["gateway"]["route"]["hostnames"]
    headers = {"content-type": "application/json", "host": hostname}
    asked = {"model": rollout["metadata"]["name"], "max_tokens": ANSWER_TOKENS, "temperature": 0}
    worded = Sampling(system_prompt=rollout["spec"]["prober"]["generation"]["systemPrompt"])
    bodies = (
        json.dumps(asked | {"messages": asking.chat(row["query"], row["context"], worded)})
        for row in rows
    )
    where = f"{url}/v1/chat/completions"
    return [traffic.Request(where, "POST", headers, body.encode()) for body in bodies]


if __name__ == "__main__":
    sys.exit(main())
