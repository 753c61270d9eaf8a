"""Mission, behaviour and motion: from the goal to a trajectory, with one sentence of explanation."""

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.planner import Planner, PlanningInput, PlanningOutput

__all__ = ["Planner", "PlannerConfig", "PlanningInput", "PlanningOutput"]
