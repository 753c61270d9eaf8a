"""Signs of an OpenDRIVE file as CARLA's actors."""

import logging
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("msgpack", reason="the extra 'carla' is not installed")

from carla_helpers import ROAD

from robotaxi.carla_link.server.signs import read_signs

SIGNS = """
   <signal id="s1" s="250" t="-5" zOffset="2" type="206" orientation="+" dynamic="no"/>
   <signal id="s2" s="50" t="5" zOffset="2" type="205" orientation="-" dynamic="no"/>
   <signal id="s3" s="100" t="-5" type="274" value="50" unit="km/h" orientation="+" dynamic="no"/>
   <signal id="s4" s="100" t="-5" type="274" value="30" unit="mph" orientation="+" dynamic="no"/>
   <signal id="s5" s="100" t="-5" type="274" value="much" orientation="+" dynamic="no"/>
   <signal id="s6" s="100" type="206" orientation="+" dynamic="no"/>
  </signals>"""


def test_signs_stand_beside_the_road_and_watch_its_lane(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "signs.xodr"
    path.write_text(ROAD.replace("</signals>", SIGNS), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        signs = {sign.id: sign for sign in read_signs(path)}
    kinds = ["traffic.stop", "traffic.yield", "traffic.speed_limit.50", "traffic.speed_limit.48"]
    assert [sign.kind for sign in signs.values()] == kinds
    assert "'t'" in caplog.text and "s6" in caplog.text
    stop, give_way = signs["s1"], signs["s2"]
    np.testing.assert_allclose(stop.T[:3, 3], [250.0, -5.0, 2.0])
    np.testing.assert_allclose(stop.T[:3, 0], [0.0, -1.0, 0.0], atol=1e-12)  # to the right of its traffic
    np.testing.assert_allclose(give_way.T[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)
    for sign, lane in ((stop, -2.5), (give_way, 2.5)):
        watched = sign.T @ np.array([*sign.watched, 1.0])
        np.testing.assert_allclose(watched[:2], [sign.T[0, 3], lane], atol=1e-9)
