"""Clients that others wrote, against a running gateway; and whether the ledger has what their upstream reported."""
