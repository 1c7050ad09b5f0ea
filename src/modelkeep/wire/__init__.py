"""Protocols as pure bytes: no socket, no clock, no store."""
