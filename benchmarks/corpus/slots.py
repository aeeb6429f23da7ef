"""What varies from one occurrence of an error to the next: ids, numbers, names, hosts, paths. Seeded, so a run repeats."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field

MODELS = {
    "openai": ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5-mini", "o3", "o4-mini"],
    "azure": ["gpt-4o-prod", "chat-eu", "gpt-41-west", "team-a-gpt4o"],
    "anthropic": ["claude-sonnet-4-5", "claude-opus-4-1", "claude-3-5-haiku-latest", "claude-haiku-4-5"],
    "google": ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash-lite", "gemini-3-pro-preview"],
    "bedrock": ["anthropic.claude-sonnet-4-v1:0", "amazon.nova-pro-v1:0", "meta.llama3-3-70b-instruct-v1:0"],
}
MODEL_HOSTS = [
    "api.openai.com",
    "api.anthropic.com",
    "api.mistral.ai",
    "generativelanguage.googleapis.com",
    "api.groq.com",
]
TOOL_HOSTS = [
    "crm.internal",
    "search.acme.io",
    "10.3.0.17",
    "tickets.example.org",
    "vector-db.svc",
    "api.github.com",
    "wiki.corp.lan",
]
TOOLS = [
    "search_web",
    "read_file",
    "fetch_page",
    "run_sql",
    "create_ticket",
    "send_mail",
    "get_weather",
    "lookup_order",
    "git_diff",
    "list_invoices",
]
WORDS = [
    "plan",
    "summary",
    "invoice",
    "customer",
    "report",
    "answer",
    "review",
    "order",
    "budget",
    "route",
    "ticket",
    "draft",
]
NAMES = [
    "planner",
    "researcher",
    "writer",
    "triage",
    "billing_agent",
    "support",
    "coder",
    "reviewer",
    "router",
    "analyst",
]
FOLDERS = ["/srv/app", "/home/agent/work", "/workspace", "/app", "/opt/agents", "/data/jobs"]
REGIONS = ["us-east-1", "eu-central-1", "us-west-2", "ap-southeast-2"]


@dataclass(slots=True)
class Slots:
    """One occurrence. `host` and `port` replace the loopback address in its texts; `wait` its test-sized timeout."""

    rng: random.Random
    host: str = field(init=False)
    port: int = field(init=False)
    wait: str = field(init=False)

    def __post_init__(self) -> None:
        self.host = self.rng.choice(TOOL_HOSTS)
        self.port = self.rng.choice([80, 443, 8080, 8443, self.rng.randint(1025, 60999)])
        self.wait = self.rng.choice(["10", "15.0", "30", "45.0", "60", "120.0", "600"])

    def pick(self, *choices):
        return self.rng.choice(choices)

    def n(self, low=2, high=99_999):
        return self.rng.randint(low, high)

    def secs(self):
        return self.rng.choice(
            [f"{self.rng.uniform(0.2, 59):.2f}", str(self.rng.randint(2, 300)), f"{self.rng.randint(1, 90)}.0"]
        )

    def mixed(self, length):
        return "".join(self.rng.choices(string.ascii_letters + string.digits, k=length))

    def hex(self, length=8):
        return "".join(self.rng.choices("0123456789abcdef", k=length))

    def uuid(self):
        h = self.hex(32)
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"

    def org(self):
        return f"org-{self.mixed(24)}"

    def req(self):
        return f"req_{self.rng.choice(['011C', '', '01'])}{self.mixed(18)}"

    def model(self, provider="openai"):
        return self.rng.choice(MODELS[provider])

    def tool(self):
        return self.rng.choice(TOOLS)

    def word(self):
        return self.rng.choice(WORDS)

    def name(self):
        return self.rng.choice(NAMES)

    def region(self):
        return self.rng.choice(REGIONS)

    def path(self, ext=None):
        return f"{self.rng.choice(FOLDERS)}/{self.word()}_{self.n(1, 99)}.{ext or self.pick('json', 'csv', 'py', 'md', 'yaml')}"

    def clock(self):
        return f"2026-{self.n(1, 12):02}-{self.n(1, 28):02}T{self.n(0, 23):02}:{self.n(0, 59):02}:{self.n(0, 59):02}"

    def to_model(self):
        """From here on the loopback address stands for a model's API."""
        self.host, self.port = self.rng.choice(MODEL_HOSTS), 443

    def words(self):
        """For prose: what `str.format` may ask for."""
        return {
            "model": self.model(self.rng.choice(["openai", "anthropic", "google"])), "tool": self.tool(), "n": self.n(2, 9),
            "big": self.n(10_000, 900_000), "secs": self.n(5, 300), "host": self.host, "path": self.path(),
            "name": self.name(), "word": self.word(), "id": self.hex(10),
        }  # fmt: skip
