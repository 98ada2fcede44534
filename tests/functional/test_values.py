"""Values that one process publishes, and others get."""

from __future__ import annotations

from support.processes import Host, Worker, each


async def values_until(workers: list[Worker], value: int) -> list[list[int]]:
    """Wait until it is the last one that each of them has got; returns what each has."""
    return await each(workers, lambda worker: worker.values_until(value))


async def test_what_one_process_publishes_reaches_four_others(host: Host) -> None:
    (publisher,) = await host.start(1)
    subscribers = await host.start(4)
    await each(subscribers, Worker.subscribe)
    for value in (1, 2):
        await publisher.publish(value)
        assert await values_until(subscribers, value) == [list(range(1, value + 1))] * 4


async def test_values_go_on_when_the_leader_is_killed(host: Host) -> None:
    (leader,) = await host.start(1)
    publisher, subscriber = await host.start(2)
    await subscriber.subscribe()
    await publisher.publish(1)
    assert await subscriber.values_until(1) == [1]
    await leader.kill()
    assert await host.leader() in (publisher, subscriber)
    await publisher.publish(2)
    values = await subscriber.values_until(2)
    assert values == sorted(values)


async def test_workers_of_one_parent_share_values_and_end_in_good_order(host: Host) -> None:
    workers = await host.start(2)
    assert sorted(await each(workers, Worker.is_leader)) == [False, True]
    await each(workers, Worker.subscribe)
    for number, worker in enumerate(workers):
        await worker.publish(number)
        await values_until(workers, number)
    for worker in workers:
        await worker.exit()  # with code 0, and without a word of complaint
