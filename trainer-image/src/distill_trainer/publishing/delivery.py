"""Brings a bundle to every target: one that fails does not keep the others from theirs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from distill_api.names import Exit, Reason
from distill_api.status import Publication
from distill_api.targets import Target
from distill_api.wire import Failure
from pydantic import ValidationError

from distill_trainer import errors
from distill_trainer.errors import BadInput, TrainerError, TryAgain
from distill_trainer.publishing import to_hub, to_oci, to_store, to_volume
from distill_trainer.publishing.target import Parcel, Published
from distill_trainer.storage import Folder

log = logging.getLogger(__name__)

_PLACES: Final[Mapping[str, Callable[[Any, Parcel], Published]]] = {
    "s3": to_store.publish,
    "pvc": to_volume.publish,
    "hugging_face": to_hub.publish,
}
NOTES: Final = "uploads"
"""Folder in the stage's draft with what is not part of its output."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one target."""

    publication: Publication
    published: Published | None = None
    failure: Failure | None = None
    code: Exit = Exit.DONE


def deliver(targets: Sequence[Target], parcel: Parcel) -> list[Delivery]:
    """Publish to every target, each whatever became of the others.

    Raises TryAgain where the pod was asked to end.
    """
    return [_one(number, target, parcel) for number, target in enumerate(targets)]


def _one(number: int, target: Target, parcel: Parcel) -> Delivery:
    before = _read(parcel.notes, number)
    try:
        published = _publish(target, parcel, before)
    except Exception as error:
        failure, code = errors.failure(error)
        if failure.reason is Reason.EVICTED:
            raise
        if failure.reason is Reason.CRASHED:
            log.exception("publish[%d]", number)
        told = Publication(
            target=number, state="Failed", time=_time(parcel), message=failure.message[:600]
        )
        return Delivery(told, failure=failure, code=code)
    told = _told(number, published, parcel)
    if before is not None and _where(before) == _where(told):
        told = told.model_copy(update={"time": before.time})
    parcel.notes.write(_name(number), told.model_dump_json(by_alias=True).encode())
    return Delivery(told, published)


def _publish(target: Target, parcel: Parcel, before: Publication | None) -> Published:
    if target.oci is not None:
        return to_oci.publish(target.oci, parcel, before.digest if before else None)
    for name, publish in _PLACES.items():
        place = getattr(target, name)
        if place is not None:
            return publish(place, parcel)
    raise AssertionError("the schema asks for one place in each target")


def _told(number: int, published: Published, parcel: Parcel) -> Publication:
    return Publication(
        target=number,
        state="Published",
        uri=published.uri,
        digest=published.digest,
        signature=published.signature,
        time=_time(parcel),
        message=published.removed,
    )


def _time(parcel: Parcel) -> datetime:
    """Return when it was published, in the whole seconds of Kubernetes' times."""
    return parcel.now.replace(microsecond=0)


def _where(told: Publication) -> tuple[str | None, ...]:
    return told.uri, told.digest, told.signature


def _name(number: int) -> str:
    return f"target-{number}.json"


def _read(notes: Folder, number: int) -> Publication | None:
    """Return what an attempt before has published to a target."""
    content = notes.read(_name(number))
    try:
        return Publication.model_validate_json(content) if content else None
    except ValidationError:
        return None


def failure(found: Sequence[Delivery]) -> TrainerError | None:
    """Return why the stage is not done; None where every target has the student.

    It may pass where one of the failures may: the others are told again then.
    """
    failed = [(n, d) for n, d in enumerate(found) if d.failure is not None]
    if not failed:
        return None
    again = [pair for pair in failed if pair[1].code is Exit.TRY_AGAIN]
    first = (again or failed)[0][1].failure
    assert first is not None
    words = " ".join(f"publish[{n}]: {d.failure.message}" for n, d in failed if d.failure)
    if len(found) > 1:
        there = len(found) - len(failed)
        words = f"{there} of {len(found)} targets of publish have the student. {words}"
    kind = TryAgain if again else BadInput
    return kind(first.reason, words, publications=tuple(d.publication for d in found))
