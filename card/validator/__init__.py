"""The program that runs at a gate: offline-first, with a journal of its own."""
