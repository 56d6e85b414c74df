"""The job's workspace: where each stage's output is found, made and remembered."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from distill_api.names import Reason, Stage
from distill_api.wire import Report

from distill_trainer import artifacts, fingerprints
from distill_trainer.artifacts import Manifest, Output
from distill_trainer.errors import TryAgain
from distill_trainer.storage import Folder
from distill_trainer.usage import Meter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Outputs by stage and fingerprint, and a pointer for each stage to its present one."""

    folder: Folder
    job: str
    """UID of the DistillationJob."""
    meter: Meter
    shared: Folder | None = None
    """Where labels are kept for other jobs too."""
    upstream: "Workspace | None" = None
    """Of a trial: where the job's stages before training are."""

    def output(self, stage: Stage) -> Output:
        """Return the complete output of an earlier stage.

        Raises TryAgain where it is absent or damaged.
        """
        if self.upstream is not None and stage is not Stage.TRAIN:
            return self.upstream.output(stage)
        found = self._pointed(stage)
        if found is None:
            raise TryAgain(
                Reason.CRASHED,
                f"The result of the {stage.value} stage is not in the workspace"
                f" {self.folder.uri} or is damaged: bring its files back, or delete this"
                " DistillationJob and create it again",
            )
        return found

    def answered(self, stage: Stage, request: str) -> Output | None:
        """Return what this job got for a request before, without looking at the world again."""
        pointer = self._pointer(stage)
        return self._pointed(stage) if pointer.get("request") == request else None

    def find(self, stage: Stage, fingerprint: str, request: str | None = None) -> Output | None:
        """Return the complete output with this fingerprint, and point to it; else None."""
        output = artifacts.find(self._place(stage, fingerprint), self.job)
        if output is not None:
            self.point(stage, output.folder, fingerprint, request)
        return output

    def draft(self, stage: Stage, fingerprint: str) -> "Draft":
        """Begin an output, or go on with what an interrupted attempt kept of it."""
        folder = self._place(stage, fingerprint)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.pull()
        return Draft(self, folder, stage, fingerprint)

    def inputs(self, stage: Stage) -> Mapping[str, str]:
        """Return what a stage's present output was made from; empty where there is none."""
        if self.upstream is not None and stage is not Stage.TRAIN:
            return self.upstream.inputs(stage)
        pointer = self._pointer(stage)
        if "fingerprint" not in pointer:
            return {}
        manifest = artifacts.read(self._place(stage, pointer["fingerprint"]))
        return manifest.inputs if manifest is not None else {}

    def _place(self, stage: Stage, fingerprint: str) -> Folder:
        home = self.shared if stage is Stage.LABEL and self.shared is not None else self.folder
        return home.child(f"{stage.value.lower()}-{fingerprints.short(fingerprint)}")

    def _pointer(self, stage: Stage) -> dict[str, str]:
        content = self.folder.read(_pointer_name(stage))
        try:
            pointer = json.loads(content or b"{}")
        except ValueError:
            return {}
        return pointer if isinstance(pointer, dict) else {}

    def _pointed(self, stage: Stage) -> Output | None:
        pointer = self._pointer(stage)
        if "fingerprint" not in pointer:
            return None
        return artifacts.find(self._place(stage, pointer["fingerprint"]), self.job)

    def point(self, stage: Stage, folder: Folder, fingerprint: str, request: str | None) -> None:
        """Remember which output is the stage's present one, and what request it answered."""
        pointer = {"fingerprint": fingerprint, "folder": folder.uri, "request": request or ""}
        if self._pointer(stage) != pointer:
            self.folder.write(_pointer_name(stage), json.dumps(pointer, indent=1).encode())


def _pointer_name(stage: Stage) -> str:
    return f"{stage.value.lower()}.json"


@dataclass(frozen=True, slots=True)
class Draft:
    """An output that is being made. Files below `path`; those that were kept survive."""

    workspace: Workspace
    folder: Folder
    stage: Stage
    fingerprint: str

    @property
    def path(self) -> Path:
        """Return the local folder to write to."""
        return self.folder.path

    def keep(self, name: str) -> None:
        """Make a file or folder survive the loss of this pod; a file COMPLETE goes last."""
        self.folder.push(name)

    def drop(self, name: str) -> None:
        """Remove a file or folder that was kept."""
        self.folder.remove(name)

    def commit(
        self,
        report: Report,
        *,
        leave_out: Iterable[str] = (),
        inputs: Mapping[str, str] | None = None,
        request: str | None = None,
    ) -> Report:
        """Complete the output: send its files, then the manifest; return the stored report.

        leave_out: names directly below the folder that are no part of it; they are removed.
        inputs: digests of what it was made from. request: see Workspace.answered.
        """
        for name in leave_out:
            self.folder.remove(name)
        entries = artifacts.describe(self.folder)
        for entry in entries:
            self.folder.push(entry.path)
        used = report.model_copy(update={"usage": self.workspace.meter.read(report.usage)})
        manifest = Manifest(
            stage=self.stage,
            fingerprint=self.fingerprint,
            job=self.workspace.job,
            code_version=fingerprints.code_version(),
            inputs=dict(inputs or {}),
            files=entries,
            report=used,
        )
        text = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=1)
        self.folder.write(artifacts.MANIFEST, text.encode())
        self.workspace.point(self.stage, self.folder, self.fingerprint, request)
        log.info("%s is complete: %d files in %s", self.stage, len(entries), self.folder.uri)
        return report
