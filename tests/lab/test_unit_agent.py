"""Units on a real systemd: started, stopped, probed and watched while it is disturbed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from hbd.agents.unit import UnitAgent
from hbd.config.model import UnitResource
from hbd.core.events import OK, Condition, Event, Outcome, ResourceSeen, Result
from hbd.systemd1 import Systemd
from hbd.units_boot import boot_warnings, order_after
from tests.lab.relayed import HELD, UNITS, Machine, aside, booted, inside, machine, run, run_bare, until

__all__ = ["booted", "machine"]

SLEEP = "ExecStart=sleep infinity"
HELD_HERE = f"sh -c '{HELD}'"


# ---------------------------------------------------------------- start and stop


def test_a_unit_is_started_and_stopped_and_the_probe_agrees(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP)

    async def test(agent: UnitAgent) -> None:
        assert await agent.probe(unit) is Condition.STOPPED
        assert await agent.start(unit) == OK
        assert machine.ctl("is-active", "web.service") == "active"
        assert await agent.probe(unit) is Condition.RUNNING
        assert await agent.stop(unit, leaving=False) == OK
        assert machine.show("web.service", "ActiveState") == "inactive"
        assert await agent.probe(unit) is Condition.STOPPED

    run(machine, test)


def test_already_so_is_success_and_changes_nothing(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP)

    async def test(agent: UnitAgent) -> None:
        assert await agent.stop(unit, leaving=False) == OK
        assert await agent.start(unit) == OK
        since = machine.show("web.service", "ActiveEnterTimestampMonotonic")
        assert await agent.start(unit) == OK
        assert machine.show("web.service", "ActiveEnterTimestampMonotonic") == since

    run(machine, test)


def test_a_notifying_service_is_started_only_once_it_says_so(machine: Machine) -> None:
    unit = machine.unit(
        "web.service", "Type=notify", "NotifyAccess=all",
        f"ExecStart=sh -c '{HELD}; systemd-notify --ready; sleep infinity'",
    )  # fmt: skip

    async def test(agent: UnitAgent) -> None:
        start = await aside(agent.start(unit))
        assert await agent.probe(unit) is Condition.BUSY
        await machine.open_gate()
        assert await start == OK
        assert await agent.probe(unit) is Condition.RUNNING

    run(machine, test)


def test_a_failing_unit_says_how_it_failed_and_where_to_look(machine: Machine) -> None:
    unit = machine.unit("web.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=false")

    async def test(agent: UnitAgent) -> None:
        outcome = await agent.start(unit)
        assert outcome == Outcome(
            Result.FAILED,
            "web.service was not started: it failed; it is failed (failed), result 'exit-code'; "
            "see 'systemctl status web.service'",
        )
        assert await agent.probe(unit) is Condition.STOPPED
        assert await agent.stop(unit, leaving=False) == OK

    run(machine, test)


INIT_LIKE = ("Type=forking", "KillMode=process", "GuessMainPID=no", "RemainAfterExit=yes")
"""What systemd-sysv-generator makes of an init script."""


def test_a_service_that_outlives_its_failing_stop_command_is_not_stopped(machine: Machine) -> None:
    unit = machine.unit("web.service", *INIT_LIKE, "ExecStart=sh -c 'sleep infinity &'", "ExecStop=false")

    async def test(agent: UnitAgent) -> None:
        assert await agent.start(unit) == OK
        for _ in range(2):
            outcome = await agent.stop(unit, leaving=False)
            assert outcome.result is Result.FAILED
            assert outcome.reason.startswith(
                "web.service was not stopped: its stop command failed, and it goes on (pid "
            )
            assert machine.ctl("is-active", "web.service", check=False) == "failed"
            assert await agent.probe(unit) is Condition.UNKNOWN
        # Once somebody has ended it, it is.
        await inside(machine, "kill", "--signal=KILL", "web.service")
        while await agent.probe(unit) is not Condition.STOPPED:  # noqa: ASYNC110 — so in the machine
            await asyncio.sleep(0.05)
        assert await agent.stop(unit, leaving=False) == OK

    run(machine, test)


def test_a_failing_stop_command_that_leaves_nothing_behind_has_stopped_its_service(machine: Machine) -> None:
    init_like = machine.unit(
        "web.service", *INIT_LIKE, "PIDFile=/run/web.pid",
        "ExecStart=sh -c 'sleep infinity & echo $! >/run/web.pid'",
        "ExecStop=sh -c 'kill $MAINPID; exit 1'",
    )  # fmt: skip
    ordinary = machine.unit("db.service", SLEEP, "ExecStop=false")

    async def test(agent: UnitAgent) -> None:
        for unit in (init_like, ordinary):
            assert await agent.start(unit) == OK
            while await agent.stop(unit, leaving=False) != OK:  # noqa: ASYNC110 — it takes a moment to die
                await asyncio.sleep(0.05)
            assert await agent.probe(unit) is Condition.STOPPED

    run(machine, test)


def test_each_way_not_to_start_has_its_sentence(machine: Machine) -> None:
    machine.unit("bad.service", "Type=oneshot", "ExecStart=false")
    needs = machine.unit("needs.service", SLEEP, unit="Requires=bad.service\nAfter=bad.service")
    slow = machine.unit("slow.service", "ExecStartPre=sleep 60", SLEEP, "TimeoutStartSec=300ms")
    unmet = machine.unit("unmet.service", SLEEP, unit="ConditionPathExists=/nowhere")
    asserted = machine.unit("asserted.service", SLEEP, unit="AssertPathExists=/nowhere")
    brief = machine.unit("brief.service", "Type=oneshot", "ExecStart=true")
    absent = UnitResource("absent", "absent.service")

    async def test(agent: UnitAgent) -> None:
        for unit, words in [
            (needs, "a unit that it needs did not start"),
            (slow, "result 'timeout'"),
            (unmet, "Condition…= settings does not hold, or it ended"),
            (asserted, "Assert…= conditions does not hold"),
            (brief, "its job was done, but it did not stay so; it is inactive (dead)"),
            (absent, "Unit absent.service not found"),
        ]:
            outcome = await agent.start(unit)
            assert outcome.result is Result.FAILED, outcome
            assert words in outcome.reason
            assert outcome.reason.endswith(f"see 'systemctl status {unit.unit}'")
        assert await agent.stop(absent, leaving=False) == OK
        assert await agent.probe(absent) is Condition.STOPPED

    run(machine, test)


def test_a_start_that_somebody_cancels_has_failed(machine: Machine) -> None:
    unit = machine.unit("web.service", "ExecStartPre=sleep 60", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = await aside(agent.start(unit))
        await inside(machine, "stop", "web.service")
        outcome = await start
        assert outcome.result is Result.FAILED
        assert "somebody cancelled its job" in outcome.reason

    run(machine, test)


def test_a_unit_that_fails_and_restarts_for_ever_is_busy_until_it_is_stopped(machine: Machine) -> None:
    unit = machine.unit(
        "web.service", "Type=notify", "ExecStart=false", "Restart=always", "RestartSec=100ms",
        unit="StartLimitIntervalSec=0",
    )  # fmt: skip

    async def test(agent: UnitAgent) -> None:
        assert (await agent.start(unit)).result is Result.FAILED
        assert await agent.probe(unit) is Condition.BUSY
        assert await agent.stop(unit, leaving=False) == OK
        await asyncio.sleep(0.4)
        assert await agent.probe(unit) is Condition.STOPPED

    run(machine, test)


def test_a_stop_under_way_is_followed_and_a_start_waits_for_its_end(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP, f"ExecStop={HELD_HERE}")

    async def test(agent: UnitAgent) -> None:
        assert await agent.start(unit) == OK
        await inside(machine, "stop", "--no-block", "web.service")
        assert await agent.probe(unit) is Condition.BUSY
        stop = await aside(agent.stop(unit, leaving=False))
        await machine.open_gate()
        assert await stop == OK
        assert await agent.start(unit) == OK
        await machine.shut_gate()
        await inside(machine, "stop", "--no-block", "web.service")
        start = await aside(agent.start(unit))
        await machine.open_gate()
        assert await start == OK
        assert await agent.probe(unit) is Condition.RUNNING

    run(machine, test)


def test_a_start_under_way_is_followed_and_a_stop_ends_it(machine: Machine) -> None:
    unit = machine.unit("web.service", f"ExecStartPre={HELD_HERE}", SLEEP)

    async def test(agent: UnitAgent) -> None:
        await inside(machine, "start", "--no-block", "web.service")
        start = await aside(agent.start(unit))
        await machine.open_gate()
        assert await start == OK
        assert await agent.stop(unit, leaving=False) == OK
        await machine.shut_gate()
        await inside(machine, "start", "--no-block", "web.service")
        assert await agent.stop(unit, leaving=False) == OK
        await machine.open_gate()
        await asyncio.sleep(0.3)
        assert await agent.probe(unit) is Condition.STOPPED

    run(machine, test)


def test_a_stop_that_hangs_is_not_answered_before_the_unit_is_down(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP, "ExecStop=sleep 60", "TimeoutStopSec=700ms")

    async def test(agent: UnitAgent) -> None:
        assert await agent.start(unit) == OK
        began_s = time.monotonic()
        # Past systemd's limit it is killed, and then it is down: that is what counts.
        assert await agent.stop(unit, leaving=False) == OK
        assert time.monotonic() - began_s >= 0.7
        assert machine.show("web.service", "ActiveState") == "failed"

    run(machine, test)


def test_an_alias_is_the_unit_it_stands_for(machine: Machine) -> None:
    machine.unit("real.service", "ExecStartPre=sleep 0.3", SLEEP)
    machine.node.run(["ln", "-s", "real.service", str(UNITS / "alias.service")])
    machine.ctl("daemon-reload")
    alias = UnitResource("alias", "alias.service")

    async def test(agent: UnitAgent) -> None:
        seen: list[tuple[UnitResource, Condition]] = []

        def post(event: Event) -> None:
            assert isinstance(event, ResourceSeen)
            assert isinstance(event.resource, UnitResource)
            seen.append((event.resource, event.condition))

        watch = agent.watch(alias, Condition.UNKNOWN, post)
        assert await agent.start(alias) == OK
        assert machine.ctl("is-active", "real.service") == "active"
        assert await agent.probe(alias) is Condition.RUNNING
        await until(lambda: (alias, Condition.RUNNING) in seen)
        assert await agent.stop(alias, leaving=False) == OK
        await until(lambda: seen[-1] == (alias, Condition.STOPPED))
        await inside(machine, "start", "real.service")
        await until(lambda: seen[-1] == (alias, Condition.RUNNING))
        watch.cancel()

    run(machine, test)
    machine.node.run(["rm", str(UNITS / "alias.service")])


# ---------------------------------------------------------------- while systemd or the bus is disturbed


def test_a_start_outlives_daemon_reexec_and_daemon_reload(machine: Machine) -> None:
    unit = machine.unit("web.service", f"ExecStartPre={HELD_HERE}", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = await aside(agent.start(unit))
        await inside(machine, "daemon-reexec")
        assert not start.done()
        await inside(machine, "daemon-reload")
        assert not start.done()
        await machine.open_gate()
        assert await start == OK
        assert machine.ctl("is-active", "web.service") == "active"

    run(machine, test)


def test_a_stop_outlives_daemon_reexec(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP, f"ExecStop={HELD_HERE}")

    async def test(agent: UnitAgent) -> None:
        assert await agent.start(unit) == OK
        stop = await aside(agent.stop(unit, leaving=False))
        await inside(machine, "daemon-reexec")
        assert not stop.done()
        await machine.open_gate()
        assert await stop == OK
        assert machine.show("web.service", "ActiveState") == "inactive"

    run(machine, test)


def test_a_start_on_the_bus_alone_outlives_daemon_reexec(machine: Machine) -> None:
    unit = machine.unit("web.service", f"ExecStartPre={HELD_HERE}", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = asyncio.create_task(agent.start(unit))
        await until(lambda: machine.show("web.service", "ActiveState") == "activating")
        await inside(machine, "daemon-reexec")
        assert not start.done()
        await machine.open_gate()
        assert await start == OK

    run(machine, test, private=machine.nowhere)


def test_a_start_under_way_that_fails_during_daemon_reexec_is_never_called_done(machine: Machine) -> None:
    unit = machine.unit(
        "web.service", "Type=oneshot", "RemainAfterExit=yes", f"ExecStart=sh -c '{HELD}; false'"
    )

    async def test(agent: UnitAgent) -> None:
        start = await aside(agent.start(unit))
        await asyncio.gather(inside(machine, "daemon-reexec"), machine.open_gate())
        assert (await start).result is Result.FAILED

    run(machine, test)


def test_units_move_while_the_bus_is_down(machine: Machine) -> None:
    unit = machine.unit("web.service", f"ExecStartPre={HELD_HERE}", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = await aside(agent.start(unit))
        await inside(machine, "stop", "dbus.service", "dbus.socket")
        await machine.open_gate()
        assert await start == OK
        assert await agent.stop(unit, leaving=False) == OK
        assert machine.show("dbus.service", "ActiveState") == "inactive"

    run(machine, test)


def test_without_the_private_socket_a_start_outlives_the_bus_being_killed(machine: Machine) -> None:
    unit = machine.unit("web.service", f"ExecStartPre={HELD_HERE}", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = asyncio.create_task(agent.start(unit))
        await until(lambda: machine.show("web.service", "ActiveState") == "activating")
        await inside(machine, "kill", "--signal=KILL", "dbus.service")
        assert not start.done()
        await machine.open_gate()
        assert await start == OK

    run(machine, test, private=machine.nowhere)


def test_a_machine_whose_systemd_cannot_be_reached_is_unknown_and_nothing_ends(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = await aside(agent.start(unit))
        stop = await aside(agent.stop(unit, leaving=False))
        assert await agent.probe(unit) is Condition.UNKNOWN
        for task in (start, stop):
            assert not task.done()
            task.cancel()
        await asyncio.wait([start, stop])

    run(machine, test, private=machine.nowhere, bus=machine.nowhere)


def test_no_outcome_is_wrong_when_the_connection_breaks_again_and_again(machine: Machine) -> None:
    unit = machine.unit("web.service", "ExecStartPre=sleep 0.4", SLEEP, "ExecStop=sleep 0.4")
    bad = machine.unit("bad.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=false")

    async def test(agent: UnitAgent) -> None:
        async def shake() -> None:
            while True:
                await asyncio.to_thread(machine.break_connections)
                await asyncio.sleep(0.13)

        shaking = asyncio.create_task(shake())
        for _ in range(3):
            assert await agent.start(unit) == OK
            assert machine.show("web.service", "ActiveState") == "active"
            assert await agent.stop(unit, leaving=False) == OK
            assert machine.show("web.service", "ActiveState") == "inactive"
            assert (await agent.start(bad)).result is Result.FAILED
        shaking.cancel()
        await asyncio.wait([shaking])

    run(machine, test, bus=machine.nowhere)


def test_a_start_that_is_given_up_leaves_systemds_job_alone(machine: Machine) -> None:
    unit = machine.unit("web.service", f"ExecStartPre={HELD_HERE}", SLEEP)

    async def test(agent: UnitAgent) -> None:
        start = asyncio.create_task(agent.start(unit))
        await until(lambda: machine.show("web.service", "ActiveState") == "activating")
        start.cancel()
        await asyncio.wait([start])
        assert start.cancelled()
        assert await agent.probe(unit) is Condition.BUSY
        again = await aside(agent.start(unit))
        await machine.open_gate()
        assert await again == OK

    run(machine, test)


def test_while_we_are_being_stopped_a_unit_ordered_before_us_is_stopped_only_by_ignoring_the_order(
    machine: Machine,
) -> None:
    unit = machine.unit("web.service", SLEEP)
    machine.unit("us.service", SLEEP, f"ExecStop={HELD_HERE}", unit="After=web.service")

    async def test(agent: UnitAgent) -> None:
        await inside(machine, "start", "web.service", "us.service")
        await inside(machine, "stop", "--no-block", "us.service")
        patient = await aside(agent.stop(unit, leaving=False), 0.5)
        assert await agent.stop(unit, leaving=True) == OK
        assert machine.show("us.service", "ActiveState") == "deactivating"
        await machine.open_gate()
        assert await patient == OK

    run(machine, test)


# ---------------------------------------------------------------- watch


def test_a_watch_sees_what_others_do_to_the_unit(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP, "ExecReload=true")

    async def test(agent: UnitAgent) -> None:
        seen: list[Condition] = []

        def post(event: Event) -> None:
            assert isinstance(event, ResourceSeen)
            assert event.resource == unit
            seen.append(event.condition)

        watch = agent.watch(unit, Condition.UNKNOWN, post)
        await until(lambda: seen == [Condition.STOPPED])
        await inside(machine, "start", "web.service")
        await until(lambda: seen[-1] is Condition.RUNNING)
        seen.clear()
        await inside(machine, "reload", "web.service")
        await inside(machine, "daemon-reload")
        await asyncio.sleep(0.2)
        assert seen == []
        await inside(machine, "kill", "--signal=KILL", "web.service")
        await until(lambda: bool(seen) and seen[-1] is Condition.STOPPED)
        await inside(machine, "daemon-reexec")
        await inside(machine, "start", "web.service")
        await until(lambda: seen[-1] is Condition.RUNNING)
        watch.cancel()
        seen.clear()
        await inside(machine, "stop", "web.service")
        await asyncio.sleep(0.1)
        assert seen == []

    run(machine, test)


def test_a_start_that_is_only_asked_for_is_told_when_it_begins_and_not_when_it_is_refused(
    machine: Machine,
) -> None:
    machine.unit("slow.service", "Type=oneshot", "ExecStart=sleep 0.5")
    unit = machine.unit("web.service", SLEEP, unit="After=slow.service")
    refused = machine.unit("asserted.service", SLEEP, unit="AssertPathExists=/nowhere\nAfter=slow.service")

    async def test(agent: UnitAgent) -> None:
        seen: list[Event] = []
        watches = [agent.watch(each, Condition.STOPPED, seen.append) for each in (unit, refused)]
        await asyncio.sleep(0.1)
        await inside(machine, "start", "--no-block", "slow.service", "web.service", "asserted.service")
        await until(lambda: machine.show("slow.service", "ActiveState") == "activating")
        assert seen == []
        await until(lambda: ResourceSeen(unit, Condition.RUNNING, "active") in seen)
        assert not any(isinstance(event, ResourceSeen) and event.resource == refused for event in seen)
        for watch in watches:
            watch.cancel()

    run(machine, test)


def test_a_watch_of_an_idle_unit_asks_systemd_nothing(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP)

    async def test(systemd: Systemd) -> None:
        seen: list[Event] = []
        watch = UnitAgent(systemd).watch(unit, Condition.UNKNOWN, seen.append)
        await until(lambda: bool(seen))
        bus = systemd._bus
        assert bus is not None
        asked = [-1, bus._serial]
        # systemd loads the unit for each question and drops it again, and signals both, in its own time.
        while asked[-1] != asked[-2]:
            assert len(asked) < 20, "it goes on asking"
            await asyncio.sleep(0.8)
            asked.append(bus._serial)
        watch.cancel()

    run_bare(machine, test)


def test_a_change_during_a_time_without_connection_is_seen_after_it(machine: Machine) -> None:
    unit = machine.unit("web.service", SLEEP)

    async def test(agent: UnitAgent) -> None:
        seen: list[Condition] = []
        watch = agent.watch(unit, Condition.UNKNOWN, lambda event: seen.append(event.condition))  # type: ignore[union-attr]
        assert await agent.start(unit) == OK
        await until(lambda: bool(seen) and seen[-1] is Condition.RUNNING)
        await inside(machine, "stop", "dbus.service", "dbus.socket")
        await inside(machine, "stop", "web.service")
        await asyncio.sleep(0.5)
        assert seen[-1] is Condition.RUNNING
        await inside(machine, "start", "dbus.socket", "dbus.service")
        await until(lambda: seen[-1] is Condition.STOPPED)
        watch.cancel()

    run(machine, test, private=machine.nowhere)


# ---------------------------------------------------------------- boot and shutdown


def test_the_order_after_the_units_is_known_and_systemd_reloads_only_for_a_change(machine: Machine) -> None:
    machine.unit("hbd.service", SLEEP)
    drop_in = Path(machine.root(str(UNITS / "hbd.service.d/50-managed-units.conf")))

    mount = r"my\x2ddata.mount"

    async def test(systemd: Systemd) -> None:
        async def ordered_after() -> set[str]:
            return set(await systemd.unit_property(await systemd.unit("hbd.service"), "After"))

        assert await order_after(systemd, ["web.service", mount, "web.service"], drop_in)
        assert {"web.service", mount} <= await ordered_after()
        assert not await order_after(systemd, ["web.service", mount], drop_in)
        assert await order_after(systemd, ["web.service"], drop_in)
        assert mount not in await ordered_after()
        assert "web.service" in await ordered_after()

    run_bare(machine, test)


def test_a_reload_that_systemd_did_not_answer_is_asked_for_again(machine: Machine, tmp_path: Path) -> None:
    drop_in = tmp_path / "50-managed-units.conf"

    async def test(systemd: Systemd) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await order_after(systemd, ["web.service"], drop_in)
        assert not drop_in.exists()

    run_bare(machine, test, private=machine.nowhere, bus=machine.nowhere)


def test_units_that_systemd_would_start_at_boot_are_named_with_the_reason(machine: Machine) -> None:
    at_boot = "WantedBy=multi-user.target"
    for name in ("idle", "listened", "wanted", "needed", "enabled"):
        machine.unit(f"{name}.service", SLEEP, install=at_boot)
    wants = "Requires=needed.service\nWants=wanted.service"
    machine.unit("upper.service", SLEEP, unit=wants, install=at_boot)
    machine.unit("unused.service", SLEEP, unit="Requires=idle.service", install=at_boot)
    socket = str(UNITS / "listened.socket")
    machine.node.write(socket, "[Socket]\nListenStream=/run/listened\n[Install]\nWantedBy=sockets.target\n")
    chosen = ("enabled.service", "upper.service", "listened.socket")
    machine.ctl("enable", "--runtime", *chosen)

    async def test(systemd: Systemd) -> None:
        units = [f"{name}.service" for name in ("idle", "listened", "wanted", "needed", "enabled", "absent")]
        both = "so that both machines would start it at boot"
        listened, wanted, needed, enabled = await boot_warnings(systemd, units)
        assert listened.startswith("listened.service is triggered by listened.socket, which is wanted by s")
        upper = f"upper.service, which is wanted by multi-user.target, {both}; "
        assert wanted.startswith(f"wanted.service is wanted by {upper}")
        assert needed.startswith(f"needed.service is required by {upper}")
        assert enabled == f"enabled.service is enabled, {both}; run 'systemctl disable enabled.service'"

    try:
        run_bare(machine, test)
    finally:
        machine.ctl("disable", "--runtime", *chosen)
        machine.node.run(["rm", socket])


def test_a_unit_made_from_an_enabled_init_script_is_named_too(machine: Machine) -> None:
    header = "### BEGIN INIT INFO\n# Provides: old\n# Default-Start: 2 3 4 5\n### END INIT INFO\n"
    machine.node.write("/etc/init.d/old", f"#!/bin/sh\n{header}exit 0\n", mode=0o755)
    machine.node.run("mkdir -p /etc/rc3.d; ln -s ../init.d/old /etc/rc3.d/S01old")
    machine.ctl("daemon-reload")

    async def test(systemd: Systemd) -> None:
        (warning,) = await boot_warnings(systemd, ["old.service"])
        assert warning.startswith("old.service is wanted by ")
        assert warning.endswith("run 'systemctl disable old.service'")

    try:
        run_bare(machine, test)
    finally:
        machine.node.run("rm /etc/init.d/old /etc/rc3.d/S01old")
