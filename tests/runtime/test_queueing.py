from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kubeembed_runtime.queueing import TURNS_PER_BATCH, Job, Queue, Slot
from kubeembed_runtime.requests import Item, Output

BUDGET = 16
SHARE = BUDGET // TURNS_PER_BATCH


@dataclass(frozen=True)
class Named:
    name: str


def job(*sizes: int, adapter: str | None = None) -> Job:
    """A request of items of so many tokens."""
    loaded = None if adapter is None else Named(adapter)
    items = [Item(ids=[0] * size, adapter=loaded) for size in sizes]
    return Job(items=items, deadline=None, submitted=0.0)


def queue(*jobs: Job) -> Queue:
    made = Queue()
    for one in jobs:
        made.add(one)
    return made


def names(batch: Sequence[Slot], **jobs: Job) -> str:
    """Whose items a batch has, in order."""
    by_job = {one: name for name, one in jobs.items()}
    return "".join(by_job[slot.job] for slot in batch)


def drained(waiting: Queue, **jobs: Job) -> list[str]:
    """The batches until nothing waits."""
    found = []
    while batch := waiting.take(BUDGET, lambda job: True):
        found.append(names(batch, **jobs))
    return found


def test_requests_take_turns_of_a_share_of_the_budget_oldest_first() -> None:
    a, b, c = job(*[2] * 6), job(*[2] * 6), job(2)
    assert drained(queue(a, b, c), a=a, b=b, c=c) == ["aabbcaab", "aabbb"]


def test_a_request_alone_has_the_whole_budget() -> None:
    a = job(*[4] * 6)
    assert drained(queue(a), a=a) == ["aaaa", "aa"]


def test_a_small_request_is_in_the_next_batch_behind_a_huge_one() -> None:
    huge, small = job(*[4] * 500), job(3)
    waiting = queue(huge)
    waiting.take(BUDGET, lambda job: True)
    waiting.add(small)
    assert names(waiting.take(BUDGET, lambda job: True), h=huge, s=small) == "hshh"


def test_a_huge_request_goes_on_with_every_batch_among_ever_more_small_ones() -> None:
    huge = job(*[4] * 10)
    waiting = queue(huge)
    for batch in range(1, 11):
        for _ in range(20):
            waiting.add(job(2))
        waiting.take(BUDGET, lambda job: True)
        assert huge.taken == batch


def test_a_request_of_items_over_the_budget_leaves_every_other_batch_to_the_rest() -> None:
    huge, a, b = job(40, 40, 40), job(4), job(4)
    assert drained(queue(huge, a, b), h=huge, a=a, b=b) == ["h", "ab", "h", "h"]


def test_an_adapter_with_one_request_does_not_wait_for_all_those_of_another() -> None:
    busy, rare, plain = [job(4, adapter="busy") for _ in range(50)], job(4, adapter="rare"), job(4)
    waiting = queue(*busy, rare, plain)
    batch = waiting.take(BUDGET, lambda job: True)
    assert [slot.job for slot in batch] == [busy[0], rare, plain, busy[1]]


def test_what_does_not_fit_opens_the_next_batch() -> None:
    a, b, c = job(10), job(9), job(5)
    assert drained(queue(a, b, c), a=a, b=b, c=c) == ["a", "bc"]


def test_a_request_that_nobody_wants_any_more_costs_its_adapter_no_turn() -> None:
    gone, kept, other = job(4, adapter="x"), job(4, adapter="x"), job(4, adapter="y")
    waiting = queue(gone, kept, other)
    batch = waiting.take(BUDGET, lambda job: job is not gone)
    assert [slot.job for slot in batch] == [kept, other]
    assert waiting.tokens == 0


def test_a_request_without_items_is_finished_at_once() -> None:
    empty = job()
    assert queue(empty).take(BUDGET, lambda job: True) == []
    assert empty.future.result(0) == []


@dataclass
class Arrival:
    """When a request comes (in batches), whose it is, and the tokens of its items."""

    batch: int
    adapter: str | None
    sizes: list[int]
    job: Job


ARRIVALS = st.lists(
    st.builds(
        lambda batch, adapter, sizes: Arrival(batch, adapter, sizes, job(*sizes, adapter=adapter)),
        st.integers(0, 12),
        st.sampled_from([None, "a", "b"]),
        st.lists(st.integers(1, 40), max_size=12) | st.lists(st.integers(1, 4), max_size=40),
    ),
    max_size=25,
)


@given(ARRIVALS)
def test_every_item_runs_once_in_its_requests_order_and_no_batch_is_over_the_budget(
    arrivals: list[Arrival],
) -> None:
    waiting, ran, number = Queue(), list[Slot](), 0
    while number <= 12 or waiting.tokens:
        for arrival in arrivals:
            if arrival.batch == number:
                waiting.add(arrival.job)
        expected = waiting.tokens
        batch = waiting.take(BUDGET, lambda job: True)
        tokens = sum(slot.item.tokens for slot in batch)
        assert waiting.tokens == expected - tokens
        assert tokens <= BUDGET or len(batch) == 1
        assert bool(batch) == bool(expected)
        ran += batch
        number += 1
    for arrival in arrivals:
        mine = [slot.place for slot in ran if slot.job is arrival.job]
        assert mine == list(range(len(arrival.sizes)))
    for slot in reversed(ran):
        slot.job.put(slot.place, Output())
    assert all(len(arrival.job.future.result(0)) == len(arrival.sizes) for arrival in arrivals)


@given(ARRIVALS, st.integers(1, SHARE))
def test_a_small_request_waits_for_two_turns_at_most_of_each_that_came_before(
    arrivals: list[Arrival], size: int
) -> None:
    """In tokens. A turn is a share, or one item that is larger; the oldest opens batches besides."""
    jobs = [job(*arrival.sizes) for arrival in arrivals if arrival.sizes]
    small = job(size)
    waiting = queue(*jobs, small)
    before = 0
    while small.next is not None:
        tokens = sum(slot.item.tokens for slot in waiting.take(BUDGET, lambda job: True))
        before += tokens if small.next is not None else 0
    longest = max((max(arrival.sizes) for arrival in arrivals if arrival.sizes), default=0)
    assert before <= 2 * len(jobs) * max(SHARE, longest)
