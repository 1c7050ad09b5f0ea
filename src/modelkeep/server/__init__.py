"""The server: sockets, the HTTP API and the scheduler; the one place that knows all rooms and wires them together."""
