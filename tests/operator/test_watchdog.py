"""When is a watch dead, and when has a deletion been missed."""

from kubeembed_operator.kinds import POD, Manifest
from kubeembed_operator.store import Store
from kubeembed_operator.watchdog import Lag


def pod(version: int, uid: str = "1") -> Manifest:
    metadata = {"name": "a", "namespace": "n", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata}


def test_a_store_that_has_what_is_listed_is_not_behind() -> None:
    store, lag = Store(), Lag()
    store.put(POD, pod(5))
    assert lag.behind(POD, [pod(5)], store, 0.0) == 0.0
    assert lag.behind(POD, [pod(4)], store, 30.0) == 0.0


def test_the_lag_is_counted_from_the_first_list_that_showed_it() -> None:
    store, lag = Store(), Lag()
    store.put(POD, pod(5))
    assert [lag.behind(POD, [pod(6)], store, at) for at in (0.0, 30.0, 60.0)] == [0.0, 30.0, 60.0]


def test_a_busy_object_whose_watch_follows_is_not_behind() -> None:
    store, lag = Store(), Lag()
    for step in range(5):
        store.put(POD, pod(10 * step))
        assert lag.behind(POD, [pod(10 * step + 1)], store, 30.0 * step) == 0.0


def test_a_watch_with_a_backlog_is_slow_and_not_dead() -> None:
    store, lag = Store(), Lag()
    for step in range(5):
        store.hear(POD, pod(step, uid="another"))
        assert lag.behind(POD, [pod(100)], store, 30.0 * step) == 0.0


def test_an_object_that_the_watch_never_brought_counts_too() -> None:
    store, lag = Store(), Lag()
    assert [lag.behind(POD, [pod(6)], store, at) for at in (0.0, 40.0)] == [0.0, 40.0]


def test_an_object_that_two_lists_lack_is_a_ghost() -> None:
    store, lag = Store(), Lag()
    store.put(POD, pod(5))
    assert lag.ghosts(POD, [], store) == []
    assert lag.ghosts(POD, [], store) == [("n", "a")]


def test_an_object_that_moved_between_the_lists_is_none() -> None:
    store, lag = Store(), Lag()
    store.put(POD, pod(5))
    lag.ghosts(POD, [], store)
    store.put(POD, pod(6))
    assert lag.ghosts(POD, [], store) == []
