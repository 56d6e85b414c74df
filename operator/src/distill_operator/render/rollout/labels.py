"""Labels and owner references of everything that belongs to a rollout."""

from distill_api.names import API_VERSION, ROLLOUT_KIND, Annotation, Label

from distill_operator.render import labels
from distill_operator.render.order import Manifest, Owner


def of_owner(owner: Owner) -> dict[str, str]:
    """Return the labels of an object that belongs to a rollout."""
    return labels.shared() | {
        Label.ROLLOUT.value: labels.value(owner.name),
        Label.ROLLOUT_UID.value: owner.uid,
    }


def selector(owner: Owner, component: str) -> dict[str, str]:
    """Return the labels that pods of one arm have at every revision, and no others."""
    return {Label.ROLLOUT_UID.value: owner.uid, Label.COMPONENT.value: component}


def of_pods(owner: Owner, component: str, revision: str) -> dict[str, str]:
    """Return the labels of the pods of an arm or of the prober."""
    return of_owner(owner) | selector(owner, component) | {Label.REVISION.value: revision}


def metadata(owner: Owner, name: str, component: str) -> Manifest:
    """Return the metadata of a child."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": of_owner(owner) | {Label.COMPONENT.value: component},
        "annotations": {Annotation.ROLLOUT_NAME.value: owner.name},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": ROLLOUT_KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                # A foreground deletion would take the pods away before the traffic.
                "blockOwnerDeletion": False,
            }
        ],
    }
