"""What systemd is told of the order of hbd and the units it manages, on a machine that never had hbd."""

from tests.lab import Lab
from tests.lab.cluster import ONE, configure, start
from tests.lab.host import wait_until


def test_hbd_is_ordered_after_its_units_before_it_has_come_to_rest(lab: Lab) -> None:
    configure(lab)
    lab.boot()
    start(lab)
    one = lab[ONE]
    ordered = "systemctl show hbd-units.target -p After"
    wait_until(lambda: "httpd.service" in one.run(ordered).stdout, 1.5, "the order")
    after = one.run("systemctl show hbd -p After").stdout
    assert "hbd-units.target" in after
    assert "httpd.service" not in after
