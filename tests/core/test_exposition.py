"""The metrics as Prometheus reads them: by its own parser."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from hbd.core.views import ClusterView
from hbd.metrics.exposition import text
from tests.core.test_projection import VIEW
from tests.scenarios.pair import Pair, all_on

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(view: ClusterView, figures: dict[str, int] | None = None) -> Samples:
    """Every sample by its name and its labels; what is wrong with the text raises."""
    shown = text(view, figures or {}, "0.1.0")
    found: Samples = {}
    for family in text_string_to_metric_families(shown):
        assert family.documentation
        assert family.type in ("gauge", "counter", "summary")
        assert family.name.startswith("hbd_")
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    names = [line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    return found


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_nodes_links_and_groups_are_gauges_with_one_state_each() -> None:
    samples = parsed(VIEW)
    assert of(samples, "hbd_info", node="linuxha1", version="0.1.0") == 1
    assert of(samples, "hbd_node_up", node="linuxha1", kind="normal") == 1
    assert of(samples, "hbd_link_up", node="linuxha2.example.org", link="eth1", medium="bcast") == 1
    assert of(samples, "hbd_group_owner", group="192.168.85.3", node="linuxha1") == 1
    assert of(samples, "hbd_group_owner", group="192.168.85.3", node="linuxha2.example.org") == 0
    assert of(samples, "hbd_group_state", group="192.168.85.3", state="started") == 1
    states = [value for (name, _), value in samples.items() if name == "hbd_group_state"]
    assert (sum(states), len(states)) == (1, 6)
    assert of(samples, "hbd_generation") == 7
    assert of(samples, "hbd_frozen") == 0
    assert of(parsed(replace(VIEW, frozen=True)), "hbd_frozen") == 1
    assert of(samples, "hbd_degraded") == 1


def test_what_happened_in_a_failover_is_counted_with_its_time() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)
    pair.run(100)
    samples = parsed(pair.view(pair.alpha), {"journal_lost": 3, "bus_outages": 1})
    assert of(samples, "hbd_node_up", node="beta", kind="normal") == 0
    assert of(samples, "hbd_deaths_total", node="beta") == 1
    assert of(samples, "hbd_transition_duration_seconds_count", cause="death", result="done") == 1
    assert 0 < of(samples, "hbd_transition_duration_seconds_sum", cause="death", result="done") < 5
    assert of(samples, "hbd_group_job_duration_seconds_count", job="start", group="10.0.0.2") == 1
    assert of(samples, "hbd_heartbeats_received_total", node="beta") > 0
    assert of(samples, "hbd_link_messages_total", node="beta", link="eth0") > 0
    assert of(samples, "hbd_clock_ahead_seconds", node="beta") == 0
    assert of(samples, "hbd_journal_lost_total") == 3
    assert of(samples, "hbd_bus_outages_total") == 1


def test_times_are_seconds_and_names_of_any_letters_survive() -> None:
    odd = 'a "quoted\\ \n name'
    view = replace(
        VIEW,
        groups=(replace(VIEW.groups[0], name=odd),),
        statistics=(("lease_ms", 2400), ("dropped_bad_signature", 12), ("group_jobs", ((f"stop:{odd}", 2),)),
                    ("group_jobs_ms", ((f"stop:{odd}", 1500),))),
    )  # fmt: skip
    samples = parsed(view)
    assert of(samples, "hbd_lease_seconds") == 2.4
    assert of(samples, "hbd_datagrams_dropped_total", reason="bad_signature") == 12
    assert of(samples, "hbd_group_state", group=odd, state="started") == 1
    assert of(samples, "hbd_group_job_duration_seconds_sum", job="stop", group=odd) == 1.5
