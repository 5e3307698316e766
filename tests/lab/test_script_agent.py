"""Resource scripts on a real systemd: started, stopped, probed; found again; never run twice."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hbd.agents.script import ENVIRONMENT_FILE, ScriptAgent, Surroundings, running_by
from hbd.agents.scriptenv import script_environment
from hbd.config.model import AutoFailback, Bcast, Config, Key, Keys, Limits, ScriptResource
from hbd.core.events import OK, Condition, Event, ResourceSeen, Result
from hbd.systemd1 import Systemd
from tests.lab.relayed import HELD, Machine, aside, booted, inside, run_bare, until

__all__ = ["booted"]

PRELUDE = """#!/bin/sh
name=${0##*/}
for verb; do :; done
echo "$name $*" >>/root/calls
flag=$(echo "/root/up/$name $*" | sed "s| $verb\\$||")
[ "$own$verb" != status ] || if [ -e "$flag" ]; then echo "$name is running"; else echo stopped; exit 3; fi
"""
PLAIN = 'case $verb in start) touch "$flag" ;; stop) rm -f "$flag" ;; esac\n'


@dataclass
class Scripts:
    """The machine, with scripts to write into it that record their calls."""

    machine: Machine
    link: Path
    """The same path leads to one directory here and there: systemd writes, and the agent reads."""
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=lambda: {"HA_CURHOST": "linuxha1"})

    def script(self, name: str, body: str = PLAIN, *args: str) -> ScriptResource:
        path = f"/etc/ha.d/resource.d/{name}"
        self.machine.node.write(path, PRELUDE + body, mode=0o755)
        return ScriptResource("::".join((name, *args)), path, args)

    def teller(self, name: str, status: str) -> ScriptResource:
        """One whose status is of its own kind."""
        found = self.script(name, f"[ $verb != status ] || {{ {status}; }}\n")
        self.machine.node.write(
            found.path, "#!/bin/sh\nown=yes\n" + self.machine.node.read(found.path), mode=0o755
        )
        return found

    def calls(self, *but: str) -> list[str]:
        """What was called, oldest first, without calls of these verbs."""
        lines = self.machine.node.read("/root/calls").splitlines()
        return [line for line in lines if line.split()[-1] not in but]

    def units(self) -> list[str]:
        """Units of scripts in systemd's memory that are not inactive."""
        shown = self.machine.ctl("list-units", "--plain", "--no-legend", "hbd-resource-*")
        return sorted(line.split()[0] for line in shown.splitlines())

    def run(self, test: Callable[[ScriptAgent], Coroutine[Any, Any, None]]) -> None:
        self.run_bare(lambda systemd: test(self.agent(systemd)))

    def run_bare(self, test: Callable[[Systemd], Coroutine[Any, Any, None]]) -> None:
        run_bare(self.machine, test)

    def agent(self, systemd: Systemd) -> ScriptAgent:
        return ScriptAgent(systemd, self.link, lambda: Surroundings(self.environment, self.limits))


@pytest.fixture
def scripts(booted: Machine) -> Iterator[Scripts]:
    link = Path(f"/run/hbd-test-{uuid.uuid4().hex[:8]}")
    booted.node.run(f"rm -rf /root/up /root/calls; mkdir /root/up {link}; touch /root/calls")
    os.symlink(booted.root(str(link)), link)
    try:
        yield Scripts(booted, link)
    finally:
        link.unlink()
        booted.node.run(
            "systemctl kill -s KILL 'hbd-resource-*'; systemctl stop 'hbd-resource-*'", check=False
        )
        booted.clean()


# ---------------------------------------------------------------- status


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("running\n", True),
        ("mirror is Running", True),
        ("INFO:  Running OK", True),
        ("OK", True),
        ("OKAY, BROKEN", True),
        ("not running", False),
        ("NoT RUNNING", False),
        ("is Not really, one would say,\nrunning", False),
        ("INFO:  Resource is stopped", False),
        ("RUNNING", False),
        ("ok", False),
        ("notrunning", True),
        ("running, but not well", True),
        ("cannot say", False),
        ("", False),
    ],
)
def test_status_is_read_by_its_text(text: str, runs: bool) -> None:
    assert running_by(text) is runs


def test_the_exit_status_of_status_counts_for_nothing(scripts: Scripts) -> None:
    lies = scripts.teller("lies", "echo stopped; exit 0")
    mutters = scripts.teller("mutters", "echo running; exit 3")
    whispers = scripts.teller("whispers", "echo running >&2; exit 0")

    async def test(agent: ScriptAgent) -> None:
        assert await agent.probe(lies) is Condition.STOPPED
        assert await agent.probe(mutters) is Condition.RUNNING
        assert await agent.probe(whispers) is Condition.STOPPED

    scripts.run(test)
    assert scripts.units() == []


def test_a_status_may_print_much_and_write_to_long_files(scripts: Scripts) -> None:
    talks = "echo running; yes 'and so on' | head -c 3000000; truncate -s 9M /root/log; echo x >>/root/log"

    async def test(agent: ScriptAgent) -> None:
        assert await agent.probe(scripts.teller("talks", f"{talks} && echo written >>/root/calls")) is (
            Condition.RUNNING
        )

    scripts.run(test)
    assert scripts.calls("status") == ["written"]
    scripts.machine.node.run("rm /root/log")


def test_a_script_that_cannot_be_executed_or_hangs_is_neither_running_nor_stopped(scripts: Scripts) -> None:
    scripts.limits = Limits(probe_ms=500)
    gone = ScriptResource("gone", "/etc/ha.d/resource.d/gone")
    hangs = scripts.teller("hangs", "sleep 60")

    async def test(agent: ScriptAgent) -> None:
        assert await agent.probe(gone) is Condition.UNKNOWN
        assert await agent.probe(hangs) is Condition.UNKNOWN
        outcome = await agent.start(hangs)
        assert outcome.result is Result.FAILED
        assert "hangs status came to no end; see journalctl -u 'hbd-resource-hangs@status" in outcome.reason

    scripts.run(test)
    assert scripts.calls("status") == []


# ---------------------------------------------------------------- start and stop


def test_a_script_is_started_and_stopped_with_its_arguments_and_the_verb_last(scripts: Scripts) -> None:
    disk = scripts.script("datadisk", PLAIN, "drbd0", "two")

    async def test(agent: ScriptAgent) -> None:
        assert await agent.probe(disk) is Condition.STOPPED
        assert await agent.start(disk) == OK
        assert await agent.probe(disk) is Condition.RUNNING
        assert scripts.units() == ["hbd-resource-datadisk::drbd0::two@start.service"]
        assert await agent.stop(disk, leaving=False) == OK
        assert await agent.probe(disk) is Condition.STOPPED

    scripts.run(test)
    assert scripts.calls("status") == ["datadisk drbd0 two start", "datadisk drbd0 two stop"]
    assert scripts.units() == []


def test_what_runs_is_not_started_and_what_does_not_run_is_stopped_all_the_same(scripts: Scripts) -> None:
    mirror = scripts.script("mirror")
    scripts.machine.node.run("touch /root/up/mirror")

    async def test(agent: ScriptAgent) -> None:
        assert await agent.start(mirror) == OK
        assert scripts.calls("status") == []
        assert await agent.stop(mirror, leaving=False) == OK
        assert await agent.stop(mirror, leaving=False) == OK

    scripts.run(test)
    assert scripts.calls("status") == ["mirror stop", "mirror stop"]


def test_arguments_reach_the_script_as_they_are_written(scripts: Scripts) -> None:
    odd = scripts.script(
        "odd", 'printf "<%s>" "$@" >>/root/odd\n', "$HOME", "%n", "a;b'c\"", r"\x41", "*", "ü"
    )

    async def test(agent: ScriptAgent) -> None:
        assert await agent.stop(odd, leaving=False) == OK
        # systemd writes the unit down and reads it again here.
        start = await aside(agent.start(scripts.script("slow", HELD + "\n" + PLAIN, "100%", "$x")), 0.5)
        await inside(scripts.machine, "daemon-reload")
        await scripts.machine.open_gate()
        assert await start == OK

    scripts.run(test)
    assert scripts.machine.node.read("/root/odd") == r"""<$HOME><%n><a;b'c"><\x41><*><ü><stop>"""
    assert scripts.calls("status")[-1] == "slow 100% $x start"


def test_a_failing_start_says_what_the_script_returned_and_where_it_wrote(scripts: Scripts) -> None:
    bad = scripts.script("bad", "[ $verb = start ] && { echo no disk; exit 7; }\n")
    path = "/etc/ha.d/resource.d/bad"

    async def test(agent: ScriptAgent) -> None:
        outcome = await agent.start(bad)
        assert outcome.result is Result.FAILED
        assert outcome.reason == (
            f"Return code 7 from {path}; see journalctl -u 'hbd-resource-bad@start.service'"
        )
        # It stays for `systemctl status`, and the next attempt takes no notice of it.
        assert scripts.machine.show("hbd-resource-bad@start.service", "ActiveState") == "failed"
        scripts.script("bad")
        assert await agent.start(bad) == OK
        assert await agent.stop(bad, leaving=False) == OK

    scripts.run(test)
    (line,) = [
        e for e in scripts.machine.node.journal("hbd-resource-bad@start.service") if e.message == "no disk"
    ]
    assert line.fields["SYSLOG_IDENTIFIER"] == line.fields["HBD_RESOURCE"] == "bad"


def test_a_failing_stop_can_be_tried_again(scripts: Scripts) -> None:
    sticky = scripts.script("sticky", "[ $verb = stop ] && kill -9 $$\n")

    async def test(agent: ScriptAgent) -> None:
        for _ in range(2):
            outcome = await agent.stop(sticky, leaving=False)
            assert outcome.result is Result.FAILED
            assert "was killed by signal 9" in outcome.reason
        scripts.script("sticky")
        assert await agent.stop(sticky, leaving=False) == OK

    scripts.run(test)
    assert scripts.calls("status") == ["sticky stop"] * 3


def test_a_daemon_that_a_start_left_behind_lives_in_its_units_cgroup_until_the_script_stops_it(
    scripts: Scripts,
) -> None:
    body = (
        'case $verb in start) sleep 1000 & echo $! >/root/pid; touch "$flag" ;;\n'
        'stop) kill $(cat /root/pid); rm "$flag" ;; esac\n'
    )
    server = scripts.script("server", body)

    async def test(agent: ScriptAgent) -> None:
        assert await agent.start(server) == OK
        cgroup = scripts.machine.node.run("cat /proc/$(cat /root/pid)/cgroup").stdout
        assert cgroup.strip().endswith("/system.slice/hbd-resource-server@start.service")
        assert await agent.stop(server, leaving=False) == OK

    scripts.run(test)
    assert scripts.machine.node.run("kill -0 $(cat /root/pid)", check=False).returncode != 0


def test_what_a_stop_leaves_running_is_not_killed(scripts: Scripts) -> None:
    helper = scripts.script(
        "helper", PLAIN + "[ $verb = start ] && { sleep 1000 & echo $! >/root/pid; }\n:\n"
    )

    async def test(agent: ScriptAgent) -> None:
        assert await agent.start(helper) == OK
        assert await agent.stop(helper, leaving=False) == OK
        assert await agent.start(helper) == OK

    scripts.run(test)
    scripts.machine.node.run("kill $(cat /root/pid)")


def test_scripts_see_the_environment_and_leave_it_for_who_has_to_stop_them_later(scripts: Scripts) -> None:
    scripts.environment = {"HA_CURHOST": "linuxha1", "HA_SITE": 'a b$c%d"', "LC_ALL": "C"}
    spy = scripts.script("spy", 'printf "%s|%s|%s" "$HA_CURHOST" "$HA_SITE" "$LC_ALL" >/root/seen\n')

    async def test(agent: ScriptAgent) -> None:
        assert await agent.start(spy) == OK

    scripts.run(test)
    assert scripts.machine.node.read("/root/seen") == 'linuxha1|a b$c%d"|C'
    assert json.loads((scripts.link / ENVIRONMENT_FILE).read_text()) == scripts.environment


def test_a_drop_in_is_for_the_units_of_all_scripts(scripts: Scripts) -> None:
    drop_in = "/run/systemd/system/hbd-resource-.service.d/site.conf"
    scripts.machine.node.write(drop_in, "[Service]\nEnvironment=SITE=here\n")
    spy = scripts.script("spy", 'printf "$SITE" >/root/seen\n', "one")

    async def test(agent: ScriptAgent) -> None:
        await inside(scripts.machine, "daemon-reload")
        assert await agent.start(spy) == OK

    scripts.run(test)
    scripts.machine.node.run(["rm", drop_in])
    assert scripts.machine.node.read("/root/seen") == "here"


# ---------------------------------------------------------------- under way


def test_a_script_under_way_is_busy_and_the_next_who_wants_it_waits_for_the_same_run(
    scripts: Scripts,
) -> None:
    slow = scripts.script("slow", f"[ $verb = status ] || {HELD}\n" + PLAIN)

    async def test(systemd: Systemd) -> None:
        for verb in ("start", "stop"):
            first = scripts.agent(systemd)

            async def act(agent: ScriptAgent, verb: str = verb) -> Any:
                return await (agent.start(slow) if verb == "start" else agent.stop(slow, leaving=False))

            begun = asyncio.create_task(act(first))
            await until(lambda verb=verb: scripts.calls("status")[-1:] == [f"slow {verb}"])  # type: ignore[misc]
            begun.cancel()  # As if hbd were killed: systemd goes on.
            await asyncio.wait([begun])
            second = scripts.agent(systemd)
            assert await second.probe(slow) is Condition.BUSY
            again = await aside(act(second))
            await scripts.machine.open_gate()
            assert await again == OK
            await scripts.machine.shut_gate()

    scripts.run_bare(test)
    assert scripts.calls("status") == ["slow start", "slow stop"]


def test_a_start_waits_for_the_end_of_a_stop(scripts: Scripts) -> None:
    slow = scripts.script("slow", f"[ $verb = stop ] && {HELD}\n" + PLAIN)

    async def test(agent: ScriptAgent) -> None:
        stop = asyncio.create_task(agent.stop(slow, leaving=False))
        await until(lambda: scripts.calls("status") == ["slow stop"])
        start = await aside(agent.start(slow))
        await scripts.machine.open_gate()
        assert await start == OK
        assert await stop == OK

    scripts.run(test)
    assert scripts.calls("status") == ["slow stop", "slow start"]


def test_a_stop_lets_a_start_end_and_then_stops(scripts: Scripts) -> None:
    slow = scripts.script("slow", f"[ $verb = start ] && {HELD}\n" + PLAIN)

    async def test(agent: ScriptAgent) -> None:
        start = asyncio.create_task(agent.start(slow))
        await until(lambda: scripts.calls("status") == ["slow start"])
        start.cancel()
        stop = await aside(agent.stop(slow, leaving=False))
        await scripts.machine.open_gate()
        assert await stop == OK
        assert await agent.probe(slow) is Condition.STOPPED

    scripts.run(test)
    assert scripts.calls("status") == ["slow start", "slow stop"]


def test_a_start_that_has_used_up_its_time_is_killed_with_all_it_began_before_the_stop(
    scripts: Scripts,
) -> None:
    scripts.limits = Limits(start_ms=1000)
    hangs = scripts.script("hangs", "[ $verb = start ] && { sleep 1234; echo late >>/root/calls; }\n" + PLAIN)

    async def test(agent: ScriptAgent) -> None:
        start = await aside(agent.start(hangs), 1.2)
        start.cancel()
        assert await agent.stop(hangs, leaving=False) == OK
        assert await agent.probe(hangs) is Condition.STOPPED

    scripts.run(test)
    assert scripts.calls("status") == ["hangs start", "hangs stop"]
    assert scripts.machine.node.run("pgrep -f '[s]leep 1234'", check=False).stdout == ""


def test_a_stop_beyond_every_limit_is_unknown_and_never_stopped(scripts: Scripts) -> None:
    scripts.limits = Limits(stop_ms=500)
    hangs = scripts.script("hangs", "[ $verb = stop ] && sleep 1000\n")

    async def test(agent: ScriptAgent) -> None:
        outcome = await agent.stop(hangs, leaving=False)
        assert outcome.result is Result.UNKNOWN
        assert "hangs stop took longer than its time limit and was killed" in outcome.reason

    scripts.run(test)


def test_a_script_whose_unit_somebody_stops_has_failed_and_is_not_run_again(scripts: Scripts) -> None:
    slow = scripts.script("slow", "[ $verb = start ] && sleep 30\n")

    async def test(agent: ScriptAgent) -> None:
        start = asyncio.create_task(agent.start(slow))
        await until(lambda: scripts.calls("status") == ["slow start"])
        await inside(scripts.machine, "stop", "hbd-resource-slow@start.service")
        outcome = await start
        assert outcome.result is Result.FAILED
        assert "slow was killed by signal 15" in outcome.reason

    scripts.run(test)
    assert scripts.calls("status") == ["slow start"]


def test_no_script_is_run_twice_while_the_connection_breaks_again_and_again(scripts: Scripts) -> None:
    slow = scripts.script("slow", "[ $verb = status ] || sleep 0.7\n" + PLAIN)

    async def test(agent: ScriptAgent) -> None:
        async def shake() -> None:
            while True:
                await asyncio.to_thread(scripts.machine.break_connections)
                await asyncio.sleep(0.13)

        shaking = asyncio.create_task(shake())
        for _ in range(2):
            assert await agent.start(slow) == OK
            assert await agent.stop(slow, leaving=False) == OK
        shaking.cancel()
        await asyncio.wait([shaking])

    run_bare(scripts.machine, lambda systemd: test(scripts.agent(systemd)), bus=scripts.machine.nowhere)
    assert scripts.calls("status") == ["slow start", "slow stop"] * 2


def test_a_run_outlives_daemon_reexec(scripts: Scripts) -> None:
    slow = scripts.script("slow", f"[ $verb = start ] && {HELD}\n" + PLAIN)

    async def test(agent: ScriptAgent) -> None:
        start = asyncio.create_task(agent.start(slow))
        await until(lambda: scripts.calls("status") == ["slow start"])
        await inside(scripts.machine, "daemon-reexec")
        assert not start.done()
        await scripts.machine.open_gate()
        assert await start == OK

    scripts.run(test)
    assert scripts.calls("status") == ["slow start"]


def test_a_watch_tells_once_what_is_so(scripts: Scripts) -> None:
    mirror = scripts.script("mirror")

    async def test(agent: ScriptAgent) -> None:
        seen: list[Event] = []
        watch = agent.watch(mirror, Condition.RUNNING, seen.append)
        await until(lambda: bool(seen))
        assert seen == [ResourceSeen(mirror, Condition.STOPPED)]
        watch.cancel()

    scripts.run(test)


# ---------------------------------------------------------------- the environment


def config(**more: Any) -> Config:
    keys = Keys(1, (Key(1, "sha1", b"secret"),))
    return Config("linuxha1", ("linuxha1", "linuxha2"), (Bcast("eth1", 694),), keys, **more)


def test_the_environment_is_what_3_0_6_gives() -> None:
    said = (("deadtime", "3000ms"), ("logfacility", "daemon"), ("logfile", "/dev/null"))
    found = script_environment(
        config(parameters=said, environment=(("SITE", "one"),), auto_failback=AutoFailback.OFF), alone=True
    )
    expected = {
        "HA_CURHOST": "linuxha1", "HA_DIR": "/etc/ha.d", "HA_FUNCS": "/etc/ha.d/shellfuncs",
        "HA_DATEFMT": "%Y/%m/%d_%T\t", "HA_LOGD": "no", "HA_LOGFACILITY": "daemon", "HA_LOGFILE": "/dev/null",
        "HA_NICEFAILBACK": "yes", "HA_DONTASK": "yes", "OCF_ROOT": "/usr/lib/ocf", "LC_ALL": "C",
        "HA_deadtime": "3000ms", "HA_logfacility": "daemon", "HA_SITE": "one",
    }  # fmt: skip
    assert expected.items() <= found.items()


def test_with_legacy_or_a_peer_the_environment_says_less() -> None:
    found = script_environment(config(), alone=False)
    assert found.keys().isdisjoint({"HA_NICEFAILBACK", "HA_DONTASK"})
