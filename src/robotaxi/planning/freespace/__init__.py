"""Driving where no lane leads on: turning round and backing out."""
