"""Transports: convert a request to columns, ask the engine, convert back. No decisions are made here."""
