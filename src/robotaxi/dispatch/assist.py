"""Remote assistance in the car: one closed question at a time, an answer that is checked, a default in time.

An answer becomes a permission that the planner may use. It never drives the car: the safety checks of planner and
gate stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from robotaxi.dispatch.messages import AssistRequest, Option, Position
from robotaxi.dispatch.report import BridgeInput

SECOND_NS = 1_000_000_000
WAIT = "wait"
_WAYS = {"overtake": "Overtake when the other lane is free", "reroute": "Take another way"}


@dataclass(frozen=True, slots=True)
class Question:
    """``default`` is taken after ``timeout`` seconds without an answer."""

    question_id: str
    text: str
    options: tuple[tuple[str, str], ...]  # (option id, words)
    default: str
    timeout: float
    picture_jpeg: bytes = b""


@dataclass(frozen=True, slots=True)
class Permission:
    """The option taken, and why."""

    question_id: str
    option_id: str
    reason: str


Check = Callable[[str, BridgeInput], str]
"""(option id, what is known) -> why it is not safe now, or ""."""


class Assist:
    """``check`` judges an answer at the moment when it would take effect."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._question: Question | None = None
        self._asked_ns = 0

    @property
    def question(self) -> Question | None:
        return self._question

    def ask(self, question: Question, stamp_ns: int) -> bool:
        """False while another question is open."""
        if self._question is not None:
            return False
        options = [option for option, _ in question.options]
        if question.default not in options or len(set(options)) != len(options):
            raise ValueError(f"question {question.question_id}: default {question.default!r} is not one of {options}")
        self._question, self._asked_ns = question, stamp_ns
        return True

    def answer(self, question_id: str, option_id: str, inputs: BridgeInput) -> tuple[str, Permission | None]:
        """(refusal, permission). A refused answer leaves the question open."""
        question = self._question
        if question is None or question.question_id != question_id:
            return "no such question is open", None
        if option_id not in [option for option, _ in question.options]:
            return f"{option_id[:40]!r} is not an option", None
        if refusal := self._check(option_id, inputs):
            return refusal, None
        self._question = None
        return "", Permission(question_id, option_id, "answered")

    def step(self, stamp_ns: int, still_open: bool) -> Permission | None:
        """The default when time is up, or when the cause has gone."""
        question = self._question
        if question is None:
            return None
        if not still_open:
            self._question = None
            return Permission(question.question_id, question.default, "the cause has gone")
        if stamp_ns - self._asked_ns >= round(question.timeout * SECOND_NS):
            self._question = None
            return Permission(question.question_id, question.default, f"no answer within {question.timeout:g} s")
        return None


def request_of(
    question: Question, stamp_ns: int, deadline_ns: int, position: Position | None, settled: Permission | None = None
) -> AssistRequest:
    """The message that asks, or with ``settled`` the one that closes the question."""
    return AssistRequest(
        question_id=question.question_id,
        stamp_ns=stamp_ns,
        question=question.text,
        options=tuple(Option(option_id=option, text=words) for option, words in question.options),
        default=question.default,
        deadline_ns=deadline_ns,
        picture_jpeg=b"" if settled else question.picture_jpeg,
        position=position,
        settled=settled.option_id if settled else "",
        reason=settled.reason if settled else "",
    )


def lane_blocked(
    identity: str, sentence: str, ways_out: Collection[str], timeout: float, picture_jpeg: bytes
) -> Question:
    """What the car asks when something has stood in its lane for long. ``ways_out``: what the planner could use."""
    ways = tuple((way, words) for way, words in _WAYS.items() if way in ways_out)
    asked = ", ".join(["Wait", *(way for way, _ in ways)])
    return Question(
        identity, f"{sentence.rstrip('. ')}. {asked}?", ((WAIT, "Wait"), *ways), WAIT, timeout, picture_jpeg
    )


def safe_to_grant(option_id: str, inputs: BridgeInput) -> str:
    """Permissions are for a car that stands and knows where it is."""
    if option_id == WAIT:
        return ""
    report, state = inputs.report, inputs.state
    if state is None or report is None:
        return "the car does not know where it is"
    if abs(report.speed) > 0.1:
        return "the car moves again"
    if report.door_open:
        return "a door is open"
    return ""
