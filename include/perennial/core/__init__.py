"""Pure parts of the loop: no I/O, clock, logging or environment."""
