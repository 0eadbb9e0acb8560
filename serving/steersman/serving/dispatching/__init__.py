"""Between transports and engine: what is decided at once, and what waits for a slow model on a thread."""
