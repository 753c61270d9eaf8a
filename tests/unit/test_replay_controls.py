"""Keys of a running replay: what they say to the player, where they seek to, and the pipe between."""

import os
import threading

import pytest

from robotaxi.bags.remote import Pace, Remote, RemoteEnd
from robotaxi.replay.controls import HELP, Controls

LAST_NS = 60_000_000_000


@pytest.fixture
def desk(tmp_path):
    """(controls, player's end, a function that presses keys)."""
    read, write = os.pipe()
    controls = Controls(read)
    with controls.attached(tmp_path, LAST_NS):
        player = RemoteEnd(tmp_path)

        def press(keys):
            os.write(write, keys)
            return controls.hear()

        yield controls, player, press
        player.close()
    os.close(read)
    os.close(write)


def test_space_pauses_and_goes_on(desk):
    controls, player, press = desk
    player.tell(12_340_000_000)
    assert press(b" ") == ["paused at 12.34 s"] and controls.paused
    assert press(b" ") == ["playing"] and not controls.paused
    assert player.words() == ["pause", "go"] and player.words() == []


def test_a_step_pauses(desk):
    controls, player, press = desk
    press(b"ss")
    assert controls.paused and player.words() == ["step", "step"]


def test_arrows_seek_by_ten_seconds_within_the_bag(desk):
    controls, player, press = desk
    press(b"\x1b[C")
    assert controls.seek_s is None, "nothing was played yet"
    player.tell(15_000_000_000)
    assert press(b"\x1b[C") == ["going to 25.0 s"]
    press(b"\x1bOD\x1b[D\x1b[D")
    assert controls.seek_s == 0.0
    press(b"\x1b[C" * 9)
    assert controls.seek_s == pytest.approx(58.0), "two seconds before the end"


def test_an_arrow_may_come_in_parts(desk):
    _, player, press = desk
    player.tell(20_000_000_000)
    assert press(b"\x1b") == [] and press(b"[D") == ["going to 10.0 s"]


def test_loop_quit_and_help(desk):
    controls, _, press = desk
    assert press(b"l") == ["again at the end"] and controls.looping
    assert press(b"l") == ["once"] and not controls.looping
    assert press(b"?") == [HELP] and not controls.quit
    press(b"q")
    assert controls.quit


def test_a_terminal_that_goes_away_is_listened_to_no_more():
    read, write = os.pipe()
    os.close(write)
    controls = Controls(read)
    assert controls.hear() == [] and controls.closed
    os.close(read)


def test_a_player_that_reads_nothing_holds_nobody_up(tmp_path):
    remote = Remote(tmp_path)
    for _ in range(20_000):
        remote.say("pause")
    assert remote.position_ns() is None
    remote.close()


def test_a_player_at_full_speed_pauses_steps_and_goes_on(desk):
    controls, player, press = desk
    pace, played = Pace(player), []
    press(b"ss")

    def play():
        for stamp in range(40):
            pace.hold(stamp)
            played.append(stamp)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive() and played == [0, 1] and controls.position_s() == pytest.approx(2e-9)
    press(b" ")
    thread.join(20.0)
    assert played == list(range(40))
