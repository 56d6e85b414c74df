"""Labels and owner references of everything the operator makes."""

from distill_api.names import API_VERSION, JOB_KIND, Label

from distill_operator.render.order import Manifest, Order, Owner

OF_STAGE = (Label.JOB_UID.value, Label.STAGE.value)
"""What the pods of all attempts of a stage have in common, and no others."""
LONGEST = 63
"""Characters of a label's value."""


def shared() -> dict[str, str]:
    """Return the labels of an object that outlives its job."""
    return {Label.MANAGED_BY.value: "kubedistill", Label.PART_OF.value: "kubedistill"}


def of_owner(owner: Owner) -> dict[str, str]:
    """Return the labels of an object that belongs to a job."""
    return shared() | {Label.JOB.value: value(owner.name), Label.JOB_UID.value: owner.uid}


def of_order(order: Order) -> dict[str, str]:
    """Return the labels of a stage's Job and pods."""
    return of_owner(order.owner) | {
        Label.COMPONENT.value: order.stage.lower(),
        Label.STAGE.value: order.stage.value,
        Label.ATTEMPT.value: str(order.task.attempt),
    }


def value(text: str) -> str:
    """Cut a name to what a label holds; the full one is in an annotation."""
    return text[:LONGEST].rstrip("-.")


def owned_by(owner: Owner, *, blocks: bool = True) -> list[Manifest]:
    """Return the reference that removes an object together with its job.

    blocks: a foreground deletion of the job removes this object before the job itself.
    """
    return [
        {
            "apiVersion": API_VERSION,
            "kind": JOB_KIND,
            "name": owner.name,
            "uid": owner.uid,
            "controller": True,
            "blockOwnerDeletion": blocks,
        }
    ]
