"""Remote assistance in the bridge: when to ask, the answer, the default in time, and what the planner is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from robotaxi.dispatch.assist import WAIT, Assist, Permission, Question, lane_blocked, request_of, safe_to_grant
from robotaxi.dispatch.mailer import Mailer
from robotaxi.dispatch.messages import AssistAnswer, Event
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.protocol import clip
from robotaxi.dispatch.report import BridgeInput, Earth, position_of
from robotaxi.params import param
from robotaxi.types import Goal

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000


@dataclass(frozen=True)
class AssistConfig:
    """When the car asks a person."""

    assist_after: float = param(
        40.0, lo=0.0, hi=3600.0, unit="s", doc="standing for something so long the car asks a person; 0: never"
    )
    assist_timeout: float = param(60.0, lo=1.0, hi=3600.0, unit="s", doc="then the default answer is taken")


class RemoteHelp:
    """``now_ns``: UTC, for the deadline that the person sees."""

    def __init__(
        self, config: AssistConfig, mail: Mailer, outbox: Outbox, earth: Earth, now_ns: Callable[[], int]
    ) -> None:
        self._config, self._mail, self._outbox, self._earth, self._now_ns = config, mail, outbox, earth, now_ns
        self._assist = Assist(safe_to_grant)
        self._blocked_since_ns = -1
        self._granted: tuple[str, Permission] | None = None  # goal id, what was allowed on the way to it
        self._told = ""

    def ask(self, question: Question, inputs: BridgeInput) -> bool:
        """Ask a person; false while another question is open."""
        if not self._assist.ask(question, inputs.stamp_ns):
            return False
        deadline = self._now_ns() + round(question.timeout * SECOND_NS)
        body = request_of(question, inputs.stamp_ns, deadline, position_of(inputs.state, self._earth))
        self._outbox.record([self._mail.stored("assist_request", body)])
        return True

    def answer(self, answer: AssistAnswer, inputs: BridgeInput) -> tuple[str, Permission | None]:
        """(refusal, permission) for a person's answer."""
        question = self._assist.question
        refusal, permission = self._assist.answer(answer.question_id, answer.option_id, inputs)
        if permission is not None and question is not None:
            self._close(question, permission, inputs)
        return refusal, permission

    def step(self, inputs: BridgeInput, order_id: str, driving: bool) -> Permission | None:
        """Ask when something has stood in the way for long; the default answer when it is time."""
        mission = inputs.mission
        blocked_by = mission.blocked_by if mission is not None and driving else ""
        if not blocked_by:
            self._blocked_since_ns = -1
        elif self._blocked_since_ns < 0:
            self._blocked_since_ns = inputs.stamp_ns
        question = self._assist.question
        settled = self._assist.step(inputs.stamp_ns, bool(blocked_by))
        if settled is not None and question is not None:
            self._close(question, settled, inputs)
        after = self._config.assist_after
        stood = inputs.stamp_ns - self._blocked_since_ns >= round(after * SECOND_NS)
        if mission is not None and blocked_by and stood and after > 0.0 and self._assist.question is None:
            identity = f"{order_id}:assist{inputs.stamp_ns // MS_NS}"
            asked = lane_blocked(
                identity, blocked_by, mission.ways_out, self._config.assist_timeout, inputs.picture_jpeg
            )
            self.ask(asked, inputs)
            self._blocked_since_ns = inputs.stamp_ns
        self._tell_unused(inputs, order_id, blocked_by)
        return settled

    def allow(self, goal: Goal | None, given: Permission | None) -> Goal | None:
        """The goal with what was allowed on the way to it."""
        if given is not None and given.option_id != WAIT and goal is not None:
            self._granted = (goal.goal_id, given)
        if self._granted is None or goal is None or goal.hold or self._granted[0] != goal.goal_id:
            return goal
        permission = self._granted[1]
        return replace(goal, permission=permission.option_id, permission_id=permission.question_id)

    # ------------------------------------------------------------------ inside

    def _close(self, question: Question, settled: Permission, inputs: BridgeInput) -> None:
        body = request_of(question, inputs.stamp_ns, 0, position_of(inputs.state, self._earth), settled)
        self._outbox.record([self._mail.stored("assist_request", body)])
        self._blocked_since_ns = inputs.stamp_ns  # ask again only after as long again

    def _tell_unused(self, inputs: BridgeInput, order_id: str, blocked_by: str) -> None:
        """A permission that did not help is told, once."""
        reason = inputs.mission.reason if inputs.mission is not None and blocked_by else ""
        if reason and reason != self._told:
            self._mail.event(
                Event(
                    stamp_ns=inputs.stamp_ns,
                    kind="permission_unused",
                    severity="warning",
                    text=clip(reason),
                    order_id=order_id,
                    position=position_of(inputs.state, self._earth),
                )
            )
        self._told = reason
