"""Which pod gets a request."""

from contextlib import ExitStack

from kubeembed_gateway.balancing import Balancer
from kubeembed_gateway.reading import Pod

PODS = tuple(Pod(name=f"pod-{n}", host=f"10.0.0.{n}", port=8080) for n in range(4))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pod_with_least_to_do_is_taken() -> None:
    balancer = Balancer()
    with ExitStack() as stack:
        taken = []
        for _ in range(8):
            pod = balancer.pick(PODS)
            taken.append(pod)
            stack.enter_context(balancer.busy(pod, 100))
        assert taken == [*PODS, *PODS]
        stack.enter_context(balancer.busy(PODS[0], 100_000))
        assert {balancer.pick(PODS) for _ in range(4)} == {PODS[1]}
    assert balancer.pick(PODS) == PODS[0]


def test_requests_of_an_adapter_go_to_one_pod_until_it_has_much_to_do() -> None:
    balancer = Balancer()
    own = {name: balancer.pick(PODS, name) for name in (f"adapter-{n}" for n in range(40))}
    assert set(own.values()) == set(PODS)
    assert all(balancer.pick(PODS, name) == pod for name, pod in own.items())
    name, pod = next(iter(own.items()))
    with balancer.busy(pod, 10_000):
        assert balancer.pick(PODS, name) == pod
    with balancer.busy(pod, 1_000_000):
        assert balancer.pick(PODS, name) != pod


def test_adapters_stay_where_they_are_when_another_pod_goes() -> None:
    balancer = Balancer()
    names = [f"adapter-{n}" for n in range(40)]
    before = {name: balancer.pick(PODS, name) for name in names}
    after = {name: balancer.pick(PODS[1:], name) for name in names}
    assert {name for name in names if before[name] != after[name]} == {
        name for name in names if before[name] == PODS[0]
    }


def test_a_pod_that_breaks_off_is_left_out_ever_longer_until_it_answers() -> None:
    clock = Clock()
    balancer = Balancer(clock)
    waits = []
    for _ in range(7):
        balancer.lost(PODS[0])
        begun = clock.now
        while balancer.pick(PODS[:2]) != PODS[0]:
            clock.now += 0.5
        waits.append(clock.now - begun)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    balancer.answered(PODS[0])
    balancer.lost(PODS[0])
    clock.now += 1
    assert balancer.pick(PODS[:2]) == PODS[0]


def test_pods_that_are_left_out_are_counted() -> None:
    clock = Clock()
    balancer = Balancer(clock)
    assert balancer.left_out() == 0
    for pod in (PODS[0], PODS[1], PODS[1]):
        balancer.lost(pod)
    assert balancer.left_out() == 2
    clock.now += 1
    assert balancer.left_out() == 1


def test_where_all_pods_break_off_all_are_asked() -> None:
    balancer = Balancer(Clock())
    for pod in PODS:
        balancer.lost(pod)
    assert balancer.pick(PODS) == PODS[0]
    assert balancer.pick(PODS, avoid=PODS[:3]) == PODS[3]
    assert balancer.pick(PODS, avoid=PODS) == PODS[0]


def test_pods_that_are_gone_are_forgotten_once_they_have_answered() -> None:
    balancer = Balancer(Clock())
    with balancer.busy(PODS[0], 1):
        balancer.lost(PODS[1])
        balancer.keep({PODS[2]})
        assert len(balancer) == 1
    balancer.keep({PODS[2]})
    assert len(balancer) == 0
