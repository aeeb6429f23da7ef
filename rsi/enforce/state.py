"""One guard in one client: what it offers, what the policy makes of it, its breaker and its gate."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from rsi.client import Client, Run
from rsi.config import SourceConfig
from rsi.enforce.breaker import Breaker
from rsi.enforce.budget import budget_of
from rsi.enforce.ending import started
from rsi.enforce.gate import Gate
from rsi.enforce.options import Options
from rsi.enforce.planning import Plan
from rsi.model import FixRef, Policy
from rsi.policy import Effective, Prepared, Process

_RECALLING: Final = frozenset({"retry", "reask", "fallbacks"})
#: Sessions whose arms are remembered: thousands are open at once only in a gateway, and there the hash says the same.
SESSIONS: Final = 4_096


class _View:
    """A policy as it stands for one chain of tasks, with a plan per arm."""

    __slots__ = ("plans", "policy", "prepared")

    def __init__(self, policy: Policy, prepared: Prepared) -> None:
        self.policy = policy
        self.prepared = prepared
        self.plans: dict[int, Plan] = {}  # by id of the scope, which `prepared` keeps alive


class State:
    """Belongs to one client in one process: after a fork, or another `configure`, there is a new one."""

    def __init__(self, client: Client, options: Options) -> None:
        self.client = client
        self.client_id = client.id
        self.options = options
        self.source = options.source or client.source
        config = client.config.sources.get(self.source, SourceConfig())
        self.bounds = client.config.fix.bounds
        can_repeat = options.idempotent or options.task in config.idempotent
        self.enforces = options.enforces(idempotent=can_repeat) if client.enforcing else frozenset[str]()
        self.recalls = bool(self.enforces & _RECALLING)
        self.breaker = Breaker()
        self.gate = Gate()
        self.budget = budget_of(client, options.provider)
        self.arms = arms_of(client)
        self.process = process_of(client)
        self._views: dict[tuple[str, ...], _View] = {}
        self._offered: set[str] = set()
        if self.enforces:
            self._offer(options.task)

    def _offer(self, task: str) -> None:
        self._offered.add(task)
        self.client.want(self.source, task, self.enforces)

    def plan(self, run: Run) -> tuple[Plan | None, int | None]:
        """What holds for this run, and the policy's version; the unit enters what is open to it."""
        root = run.root.task
        if root and root not in self._offered:
            self._offer(root)  # a fix of the whole task may act here
        policy = self.client.policies.current(self.source)
        if policy is None:
            return None, None
        view = self._views.get(run.tasks)
        if view is None or view.policy is not policy:
            view = self._views[run.tasks] = _View(policy, Prepared(policy, self.source, run.tasks, self.enforces))
            for problem in view.prepared.problems:
                self.client.tally.say_once(f"policy for {self.source}/{run.task}: {problem}")
        effective = view.prepared.plain or self._enter(view, run)
        if not effective.scope:
            return None, policy.version
        plan = view.plans.get(id(effective.scope))
        if plan is None:
            plan = Plan(effective, self.enforces, self.options.fallbacks, self.bounds)
            view.plans[id(effective.scope)] = plan
        return plan, policy.version

    def _enter(self, view: _View, run: Run) -> Effective:
        """Take the unit's arms, and announce once each experiment in which this client can act on it."""
        if run.root.session is not None and run.root.held is not (known := self.arms.of(run.unit)):
            run.held = known
        held, own = run.held, self.process.held
        before = {id(ref) for ref in [*held.values(), *own.values()]}
        effective = view.prepared.for_unit(run.unit, held, self.process)
        entered = run.entered
        for ref in effective.fixes:
            entered[ref.id] = ref
        if own:
            before |= self._as_process(run, effective)
        news = tuple([ref for ref in effective.fixes if ref.enforced and id(ref) not in before])
        if news and run.root.task:
            self.client.put(
                started(run, news, own_id=self.client.new_id(), source=self.source, version=view.policy.version)
            )
        return effective

    def _as_process(self, run: Run, effective: Effective) -> set[int]:
        """Its arms are this process's: the task says so. Where that ends elsewhere (`rsi.extract`), none began here."""
        mine = {id(ref) for ref in list(self.process.held.values())} & {id(ref) for ref in effective.fixes}
        if run.root.remote:
            return mine
        if mine:
            run.root.process = self.process.id
        return set()


class SessionArms:
    """The arms of open sessions: a session that began under one stage stays in it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, dict[tuple[str, str], FixRef]] = OrderedDict()

    def of(self, unit: str) -> dict[tuple[str, str], FixRef]:
        """The arms of this unit, to be added to."""
        known = self._known.setdefault(unit, {})
        if len(self._known) > SESSIONS:
            self._known.popitem(last=False)
        return known


def process_of(client: Client) -> Process:
    """What all guards of a client are in together; a forked child is another process."""
    process: Process = client.shared.setdefault("process", Process(client.id))
    return process


def arms_of(client: Client) -> SessionArms:
    """What all guards of a client know of its sessions; a forked child begins its own."""
    arms: SessionArms = client.shared.setdefault("session arms", SessionArms())
    return arms
