"""Figures of the dispatch link: load, blackout, spoofing, fuzzing. `robotaxi bench dispatch` runs them."""
