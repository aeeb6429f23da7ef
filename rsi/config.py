"""`rsi.yaml` + environment → `Config`; every key documented and bounded (contract §7)."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from rsi.errors import ConfigError
from rsi.model import KNOBS

CONFIG_FILE: Final = "rsi.yaml"
STATE_DIR: Final = ".rsi"
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 7474
#: Three words of the package that came before us, and the knobs they mean.
SAFE_ALIASES: Final = {"retry_logic": "retry", "routing_config": "fallbacks", "threshold_tuning": "timeout_s"}

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_OpenShare = Annotated[float, msgspec.Meta(gt=0, lt=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SourceConfig(_Section, frozen=True, kw_only=True):
    """What a person says about one source. `slo` is the success rate below which it is unhealthy."""

    slo: _OpenShare = 0.9
    idempotent: list[str] = []  # tasks that may be repeated
    fallbacks: list[str] = []  # models or callables that a fix may switch to
    trust: Literal["low", "normal", "high"] = "normal"


class Bounds(_Section, frozen=True, kw_only=True):
    """Hard limits of every change, whoever proposes it."""

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 6
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] = 65_536
    max_concurrency: Annotated[int, msgspec.Meta(ge=1)] = 256


class FixConfig(_Section, frozen=True, kw_only=True):
    """What may be changed, how often and how far."""

    auto: bool = True
    safe: list[str] = msgspec.field(
        default_factory=lambda: ["retry", "reask", "fallbacks", "timeout_s", "max_concurrency", "max_output_tokens"]
    )
    bounds: Bounds = Bounds()
    per_hour: Annotated[int, msgspec.Meta(ge=0)] = 6
    undecided: Literal["keep", "remove"] = "keep"
    storm_sources: _Count = 5  # with at least this many known sources …
    storm_share: _Share = 0.4  # … nothing is applied while more than this share is unhealthy
    min_failures: _Count = 3  # unrecovered failures in the window before anything is planned
    cooldown: Annotated[float, msgspec.Meta(ge=0)] = 3600.0  # s after a fix failed in a scope in which no other starts


class VerifyConfig(_Section, frozen=True, kw_only=True):
    """How a fix proves itself. Durations accept seconds or `30m`, `24h`, `14d`."""

    ramp: Annotated[list[_OpenShare], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: [0.5])
    silent_after: _Positive = 1800.0
    max_days: _Positive = 14.0
    holdout: _Share = 0.05
    holdout_days: _Positive = 14.0
    command: str | None = None  # run in the sandbox before a fix starts, with and without it
    replay: str | None = None  # the same with the recorded input of a failed outcome on its standard input
    replay_times: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    timeout_s: _Positive = 120.0  # of each run of `command`, and of all replays on one side together


class Target(_Section, frozen=True, kw_only=True):
    """A file of the user's that a fix may edit: one key in it, its LiteLLM settings, or a block of lessons.

    `file` is relative to the home, `key` a path like `llm.max_retries`. `knob`, `source` and `task` say which knob of
    which scope the key turns, `unit` how it counts.
    """

    file: str
    key: str = ""  # none for `litellm` and `lessons`
    type: Literal["int", "float", "str", "bool", "litellm", "lessons"] = "str"
    min: float | None = None
    max: float | None = None
    enum: list[Any] | None = None
    knob: Literal["retry", "timeout_s", "fallbacks", "max_concurrency", "max_output_tokens"] | None = None
    source: str = "*"
    task: str = "*"
    unit: Literal["tries", "retries", "s", "ms"] | None = None  # of retry (tries) and timeout_s (s)


class NotifyTarget(_Section, frozen=True, kw_only=True):
    """Whom to tell: a signed webhook or a command. `alarm` brings its end too, `resolved` also that of a proposal."""

    url: str | None = None
    command: str | None = None
    on: list[Literal["proposal", "rolled_back", "alarm", "resolved"]] = msgspec.field(
        default_factory=lambda: ["proposal", "rolled_back", "alarm", "resolved"]
    )
    secret: str | None = None


class Retention(_Section, frozen=True, kw_only=True):
    """How long outcomes are kept (from arrival) and how large the database may grow."""

    outcomes_days: _Positive = 30.0
    max_db_mb: _Positive = 2048.0


class InboxConfig(_Section, frozen=True, kw_only=True):
    """The watched folder. `settle_ms`: unchanged this long before it is taken; `rescan_s`: events get lost."""

    keep_days: _Positive = 7.0
    settle_ms: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    rescan_s: _Positive = 2.0


class RedactConfig(_Section, frozen=True, kw_only=True):
    """More regular expressions whose matches are secrets here."""

    extra: list[str] = []


class AuthConfig(_Section, frozen=True, kw_only=True):
    """Bearer tokens, and Standard-Webhooks secrets (`whsec_…`) for reporting and for deciding with a one-time token."""

    tokens: list[str] = []
    signing_secrets: list[str] = []
    approval_ttl: _Positive = 86_400.0  # s that a one-time token in a notification works
    approval_url: Annotated[str, msgspec.Meta(pattern="^https?://[^/]")] | None = None  # where people reach the daemon


class Limits(_Section, frozen=True, kw_only=True):
    """Sizes over which input is refused with the limit named."""

    outcome_bytes: _Count = 1024 * 1024
    request_bytes: _Count = 16 * 1024 * 1024
    depth: _Count = 32
    text_bytes: _Count = 16 * 1024  # `input` and `output` are cut here
    tasks_per_source: _Count = 200


class StoreConfig(_Section, frozen=True, kw_only=True):
    """`sqlite`, or a SQLAlchemy URL."""

    url: str = "sqlite"


class WorkerConfig(_Section, frozen=True, kw_only=True):
    """The analysis child process: whether it runs, and how long it stays idle."""

    enabled: bool = True
    idle_s: _Positive = 300.0


class Config(_Section, frozen=True, kw_only=True):
    """Everything in `rsi.yaml`; all optional."""

    sources: dict[str, SourceConfig] = {}
    fix: FixConfig = FixConfig()
    verify: VerifyConfig = VerifyConfig()
    policy: list[dict[str, Any]] = []
    targets: list[Target] = []
    notify: list[NotifyTarget] = []
    retention: Retention = Retention()
    inbox: InboxConfig = InboxConfig()
    redact: RedactConfig = RedactConfig()
    auth: AuthConfig = AuthConfig()
    limits: Limits = Limits()
    client_ttl: _Positive = 86_400.0
    store: StoreConfig = StoreConfig()
    worker: WorkerConfig = WorkerConfig()

    def slo(self, source: str) -> float:
        """The SLO of a source (success rate); 0.9 unless somebody said otherwise."""
        found = self.sources.get(source)
        return found.slo if found else SourceConfig().slo


#: Built while one thread imports this module: see the end of `rsi.model`.
_READER: Final = msgspec.json.Decoder(Config)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION_KEYS = (
    ("client_ttl",), ("verify", "silent_after"), ("worker", "idle_s"), ("fix", "cooldown"), ("auth", "approval_ttl"),
)  # fmt: skip


def seconds(value: object) -> float:
    """`90`, `"30m"`, `"24h"` → seconds.

    Raises:
        ValueError: neither a number nor `<number><ms|s|m|h|d>`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.fullmatch(str(value).strip())
    if not found:
        raise ValueError(f'expected a duration like 90, "30m" or "24h", got {value!r}')
    return float(found[1]) * _UNITS[found[2] or "s"]


def load(home: Path) -> Config:
    """Read `<home>/rsi.yaml`; a missing file is the default.

    Raises:
        ConfigError: names the file and the key.
    """
    path = home / CONFIG_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    return parse(raw, where=str(path))


def parse(raw: object, *, where: str = CONFIG_FILE) -> Config:
    """A decoded `rsi.yaml` → `Config`.

    Raises:
        ConfigError: names `where` and the key.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, got {type(raw).__name__}")
    settings: dict[str, Any] = _as_written(raw)
    _check_finite(settings, where, "")
    for keys in _DURATION_KEYS:
        _to_seconds(settings, keys, where)
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {str(error).replace('`$.', '`')}") from error
    _check_safe(config.fix.safe, where)
    _check_targets(config.targets, where)
    return msgspec.structs.replace(
        config, fix=msgspec.structs.replace(config.fix, safe=[SAFE_ALIASES.get(k, k) for k in config.fix.safe])
    )


def _as_written(value: Any) -> Any:
    """YAML 1.1 reads the key `on` as true: here it is the word. A key with nothing behind it is not set."""
    if isinstance(value, dict):
        return {"on" if key is True else key: _as_written(item) for key, item in value.items() if item is not None}
    return [_as_written(item) for item in value] if isinstance(value, list) else value


def _check_finite(value: Any, where: str, key: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {key}: expected a finite number, got {value}", field=key)
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        _check_finite(item, where, f"{key}.{name}" if key else str(name))


def _to_seconds(raw: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    section: Any = raw
    for key in keys[:-1]:
        section = section.get(key)
        if not isinstance(section, dict):
            return
    if keys[-1] in section:
        try:
            section[keys[-1]] = seconds(section[keys[-1]])
        except ValueError as error:
            raise ConfigError(f"{where}: {'.'.join(keys)}: {error}", field=".".join(keys)) from error


def _check_safe(words: list[str], where: str) -> None:
    for word in words:
        if word not in KNOBS and word not in SAFE_ALIASES:
            allowed = ", ".join((*KNOBS, *SAFE_ALIASES))
            raise ConfigError(f"{where}: fix.safe: {word!r} is not a knob; known are {allowed}", field="fix.safe")


def _check_targets(targets: list[Target], where: str) -> None:
    """What can be said of a declaration without its file; the rest is said by the fix that would use it."""
    for index, target in enumerate(targets):
        at = f"targets[{index}]"
        whole = target.type in ("litellm", "lessons")
        if whole == bool(target.key):
            wrong = "takes no key" if whole else 'needs a key, like "llm.max_retries"'
            raise ConfigError(f"{where}: {at}.key: {target.file}: type {target.type} {wrong}", field=f"{at}.key")
        if target.min is not None and target.max is not None and target.min > target.max:
            said = f"{target.file}#{target.key}: {target.min:g} is above max ({target.max:g})"
            raise ConfigError(f"{where}: {at}.min: {said}", field=f"{at}.min")


def find_home(explicit: str | os.PathLike[str] | None = None, *, env: Mapping[str, str] = os.environ) -> Path:
    """`--home`, else `$RSI_HOME`, else the nearest parent with an `rsi.yaml`, else the current folder."""
    found = find_declared_home(explicit, env=env)
    return found if found is not None else Path.cwd()


def find_declared_home(
    explicit: str | os.PathLike[str] | None = None, *, env: Mapping[str, str] = os.environ
) -> Path | None:
    """Like `find_home`, but `None` where nobody declared one.

    Declared is: by option, variable or `rsi.yaml`, or by a daemon that wrote its address into the current folder (not
    further up: without an `rsi.yaml` the current folder is the home).
    """
    chosen = explicit or env.get("RSI_HOME")
    if chosen:
        return Path(chosen).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CONFIG_FILE).is_file():
            return folder
    return here if (here / STATE_DIR / "daemon.json").is_file() else None


class Home:
    """Where a project's things are.

    `path` is the folder that holds `rsi.yaml`, `inbox/`, `proposals/`, `rules/` and the state folder `.rsi/`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.inbox = self.path / "inbox"
        self.proposals = self.path / "proposals"
        self.rules = self.path / "rules"
        self.state = self.path / STATE_DIR
        self.database = self.state / "rsi.db"
        self.daemon_json = self.state / "daemon.json"
        self.lock = self.state / "lock"
        self.logs = self.state / "logs"
        self._secret = self.state / "secret"

    def prepare(self) -> None:
        """Make the state folder (0700) and the local secret (0600) if they are missing.

        Raises:
            ConfigError: the folder cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.state.mkdir(mode=0o700, exist_ok=True)
            self.state.chmod(0o700)
            if not self._secret.exists():
                fd = os.open(self._secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "w", encoding="ascii") as file:
                    file.write(secrets.token_urlsafe(32))
        except OSError as error:
            raise ConfigError(f"{self.state}: cannot be prepared: {error.strerror}; choose another --home") from error

    def secret(self) -> str | None:
        """The local secret that approving, rolling back and merging need; `None` before the first start."""
        try:
            return self._secret.read_text(encoding="ascii").strip()
        except (FileNotFoundError, PermissionError):
            return None

    def refused(self) -> str | None:
        """One sentence about what lies in `inbox/failed/`, each with its reason beside it; `None` if nothing does."""
        reasons = sorted(path.name for path in (self.inbox / "failed").glob("*.error.txt"))
        if not reasons:
            return None
        return (
            f"{len(reasons)} refused in {self.inbox / 'failed'}, the last to read: {reasons[-1]}; "
            "put them right into inbox/, or delete them"
        )

    def daemon(self) -> dict[str, Any] | None:
        """What a running (or killed) daemon wrote about itself: `url`, `pid`, `home`, `version`."""
        try:
            found = json.loads(self.daemon_json.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def store_url(self, config: Config) -> str:
        """The SQLAlchemy URL of the store; `sqlite` means the file of this home."""
        return f"sqlite:///{self.database}" if config.store.url == "sqlite" else config.store.url
