"""Delay-compensated steering and speed control."""

from robotaxi.control.config import ControlConfig
from robotaxi.control.controller import Controller, ControlOutput

__all__ = ["ControlConfig", "ControlOutput", "Controller"]
