"""Where the others will be: lane-following and constant-velocity prediction."""

from robotaxi.prediction.config import PredictionConfig
from robotaxi.prediction.lane_graph import LaneGraph
from robotaxi.prediction.predictor import Predictions, predict

__all__ = ["LaneGraph", "PredictionConfig", "Predictions", "predict"]
