"""The store holds the newest version of everything, whatever order news arrive in."""

from distill_operator.effects.kinds import CLAIM, DISTILLATION_JOB, JOB
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest


def body(uid: str, version: int, *, owner: str | None = None, namespace: str = "a") -> Manifest:
    labels = {"kubedistill.io/job-uid": owner} if owner else {}
    return {
        "metadata": {
            "uid": uid,
            "name": uid,
            "namespace": namespace,
            "resourceVersion": str(version),
            "labels": labels,
            "managedFields": [{"manager": "somebody"}],
        }
    }


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store()

    assert store.put(JOB, body("j", 9))
    assert not store.put(JOB, body("j", 8))
    assert not store.put(JOB, body("j", 9))

    kept = store.get(JOB, "j")
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == "9"


def test_versions_are_compared_as_numbers() -> None:
    store = Store()
    store.put(JOB, body("j", 99))

    assert store.put(JOB, body("j", 100))


def test_a_deleted_object_does_not_come_back_with_a_late_answer() -> None:
    store = Store()
    store.put(JOB, body("j", 1, owner="o"))

    assert store.drop(JOB, body("j", 5, owner="o"))
    assert not store.put(JOB, body("j", 6, owner="o"))

    assert store.children(JOB, "o") == []


def test_a_complete_list_removes_what_vanished_unseen() -> None:
    store = Store()
    store.put(JOB, body("gone", 1, owner="o"))
    store.put(JOB, body("kept", 2, owner="o"))

    missed = store.replace(JOB, None, [body("kept", 2, owner="o"), body("new", 4, owner="o")], 5)

    assert {m["metadata"]["uid"] for m in missed} == {"gone", "new"}
    assert {c["metadata"]["uid"] for c in store.children(JOB, "o")} == {"kept", "new"}


def test_a_list_does_not_remove_what_was_made_after_it() -> None:
    store = Store()
    store.put(JOB, body("younger", 8, owner="o"))

    assert store.replace(JOB, None, [], 7) == []
    assert store.get(JOB, "younger") is not None


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    store = Store()
    store.put(JOB, body("other", 1, namespace="b"))

    assert store.replace(JOB, "a", [], 7) == []
    assert store.get(JOB, "other") is not None


def test_children_are_found_by_their_label_and_shared_objects_by_their_namespace() -> None:
    store = Store()
    store.put(CLAIM, body("own", 1, owner="o"))
    store.put(CLAIM, body("labels", 2))
    store.put(CLAIM, body("elsewhere", 3, namespace="b"))

    assert [c["metadata"]["uid"] for c in store.children(CLAIM, "o")] == ["own"]
    assert [c["metadata"]["uid"] for c in store.shared(CLAIM, "a")] == ["labels"]


def test_managed_fields_are_not_kept_and_the_kind_is_filled_in() -> None:
    store = Store()
    store.put(DISTILLATION_JOB, body("d", 1))

    kept = store.get(DISTILLATION_JOB, "d")
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["kind"] == "DistillationJob"
    assert store.jobs_in("a") == ["d"]
