"""The other motor vehicles: where they may go, who goes first, and how they follow each other."""
