"""The store keeps versions, refuses what changed in between, and tells watchers in order."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.fakekube import store as stores
from tests.fakekube.selectors import SelectorError, matches_fields, matches_labels
from tests.fakekube.store import Key, Store


def config(name: str = "a", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"x": "1"},
    }


def pod(name: str = "p", node: str = "n", **metadata: Any) -> dict[str, Any]:
    spec = {"nodeName": node} if node else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


A = Key("v1", "ConfigMap", "default", "a")
P = Key("v1", "Pod", "default", "p")


def test_create_adds_what_a_server_adds():
    made = Store().create(config())["metadata"]
    assert made["namespace"] == "default"
    assert made["resourceVersion"] == "1"
    assert made["generation"] == 1
    assert made["uid"]
    assert made["creationTimestamp"]


def test_generate_name_gives_a_new_name_each_time():
    store = Store()
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "w-0-"}}
    names = {store.create(template)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("w-0-") for name in names)


def test_a_second_create_is_refused():
    store = Store()
    store.create(config())
    with pytest.raises(stores.AlreadyExists) as caught:
        store.create(config())
    assert (caught.value.code, caught.value.reason) == (409, "AlreadyExists")


def test_a_missing_object_is_404():
    with pytest.raises(stores.NotFound, match="configmaps 'a' not found"):
        Store().get(A)


def test_the_callers_dict_is_not_the_stored_one():
    store = Store()
    store.create(config())["data"]["x"] = "2"
    assert store.get(A)["data"] == {"x": "1"}


def test_replace_with_an_old_version_is_a_conflict():
    store = Store()
    old = store.create(config())
    store.patch(A, {"data": {"x": "2"}})
    with pytest.raises(stores.Conflict):
        store.replace(old)
    assert store.get(A)["data"] == {"x": "2"}


def test_replace_without_a_version_wins():
    store = Store()
    old = store.create(config())
    store.patch(A, {"data": {"x": "2"}})
    del old["metadata"]["resourceVersion"]
    assert store.replace(old)["data"] == {"x": "1"}


def test_a_merge_patch_removes_by_null():
    store = Store()
    store.create(config())
    assert store.patch(A, {"data": {"x": None, "y": "3"}})["data"] == {"y": "3"}


def test_a_patch_that_changes_nothing_keeps_the_version():
    store = Store()
    before = store.create(config())["metadata"]["resourceVersion"]
    assert store.patch(A, {"data": {"x": "1"}})["metadata"]["resourceVersion"] == before


def test_generation_counts_changes_of_the_spec_alone():
    store = Store()
    store.create(pod())
    store.patch(P, {"metadata": {"labels": {"a": "b"}}})
    assert store.get(P)["metadata"]["generation"] == 1
    store.patch(P, {"spec": {"hostname": "h"}})
    assert store.get(P)["metadata"]["generation"] == 2


def test_status_changes_by_its_subresource_alone():
    store = Store()
    store.create(pod())
    store.patch(P, {"status": {"phase": "Running"}})
    assert "status" not in store.get(P)
    store.patch(P, {"status": {"phase": "Running"}, "spec": {"x": 1}}, subresource="status")
    assert store.get(P)["status"] == {"phase": "Running"}
    assert "x" not in store.get(P)["spec"]


def test_list_selects_by_labels_and_namespace():
    store = Store()
    store.create(config("a", app="x"))
    store.create(config("b", app="y"))
    store.create(config("c", app="x"), namespace="other")
    names = [o["metadata"]["name"] for o in store.list("v1", "ConfigMap", labels="app=x")]
    assert names == ["a", "c"]
    one = store.list("v1", "ConfigMap", "default", labels={"app": "x"})
    assert [o["metadata"]["name"] for o in one] == ["a"]


def test_watch_tells_everything_after_a_version_in_order():
    store = Store()
    store.create(config())
    seen = store.version
    store.patch(A, {"data": {"x": "2"}})
    store.delete(A)
    events = list(store.watch("v1", "ConfigMap", since=seen, timeout_seconds=0))
    assert [(e.type, e.object["data"]["x"]) for e in events] == [
        ("MODIFIED", "2"),
        ("DELETED", "2"),
    ]


def test_watch_wakes_when_something_comes():
    store = Store()
    found: list[str] = []
    watch = store.watch("v1", "ConfigMap", timeout_seconds=30)
    reader = threading.Thread(target=lambda: found.append(next(watch).type))
    reader.start()
    store.create(config())
    reader.join(30)
    assert found == ["ADDED"]


def test_close_ends_watches():
    store = Store()
    store.close()
    assert list(store.watch()) == []


def test_a_bound_pod_goes_when_its_kubelet_says_so():
    store = Store()
    store.create(pod())
    store.delete(P, grace_seconds=5)
    assert store.get(P)["metadata"]["deletionGracePeriodSeconds"] == 5
    store.delete(P, grace_seconds=0)
    with pytest.raises(stores.NotFound):
        store.get(P)


def test_a_pod_without_a_node_goes_at_once():
    store = Store()
    store.create(pod(node=""))
    store.delete(P)
    with pytest.raises(stores.NotFound):
        store.get(P)


def test_finalizers_hold_an_object():
    store = Store()
    store.create(pod(node="", finalizers=["batch.kubernetes.io/job-tracking"]))
    store.delete(P)
    assert "deletionTimestamp" in store.get(P)["metadata"]
    store.patch(P, {"metadata": {"finalizers": None}})
    with pytest.raises(stores.NotFound):
        store.get(P)


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
def test_owned_objects_follow_their_owner_unless_orphaned(propagation: str):
    store = Store()
    uid = store.create(config())["metadata"]["uid"]
    store.create(pod(node="", ownerReferences=[{"uid": uid}]))
    store.delete(A, propagation=propagation)
    left = store.list("v1", "Pod")
    assert len(left) == (1 if propagation == "Orphan" else 0)
    assert [p["metadata"]["ownerReferences"] for p in left] in ([], [[]])


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("", True),
        ("a=1", True),
        ("a==1,b=2", True),
        ("a!=1", False),
        ("c!=1", True),
        ("a in (1, 3),b notin (3)", True),
        ("a in (2)", False),
        ("a,!c", True),
        ("!a", False),
        ("app.kubernetes.io/name=x", False),
    ],
)
def test_label_selectors(selector: str, fits: bool):
    assert matches_labels({"metadata": {"labels": {"a": "1", "b": "2"}}}, selector) is fits


def test_a_selector_that_cannot_be_read_is_refused():
    with pytest.raises(SelectorError):
        matches_labels({"metadata": {}}, "a=(b")


def test_field_selectors():
    obj = {"metadata": {"name": "x"}, "status": {"phase": "Failed"}}
    assert matches_fields(obj, "metadata.name=x,status.phase!=Running")
    assert not matches_fields(obj, "metadata.name!=x")
    assert not matches_fields(obj, "spec.nodeName=n")
