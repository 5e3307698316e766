"""org.linux_ha.Heartbeat1 on the system bus."""
