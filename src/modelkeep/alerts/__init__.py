"""Alerts: rules over series, their states, silences, the outbox and its channels."""
