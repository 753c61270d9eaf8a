"""The sub-commands of `robotaxi`, one file each."""
