"""The four parts of the network, with explicit state; no streaming, no messages."""
