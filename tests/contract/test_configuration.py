"""Contract §7: every key of the example, as it is written there, and what YAML does to some of them."""

import msgspec
import pytest
import yaml

from rsi.config import Config, parse
from rsi.errors import ConfigError
from rsi.fix import publish

#: §7 as it stands, and nothing else.
EXAMPLE = """
sources: {}              # per source: slo (0.9), idempotent tasks, models allowed as fallbacks, trust
fix:
  auto: true             # false: everything is a proposal
  safe: [retry, reask, fallbacks, timeout_s, max_concurrency, max_output_tokens]
  bounds: {max_attempts: 6, timeout_s: 600}
  per_hour: 6
  undecided: keep        # or remove
verify:
  ramp: [0.5]            # [0.1, 0.5] is the cautious one; everyone but the holdout only after verified
  silent_after: 30m      # a unit that started and never ended has failed
  max_days: 14
  holdout: 0.05
  command: null          # e.g. "pytest -q"; run in the sandbox, with and without the change
  timeout_s: 120
policy: []               # scopes as in §4, set by a person: they win over any fix
targets: []              # files a fix may edit: {file, key, type, min, max}
notify: []               # {url | command, on: [proposal, rolled_back, alarm]}
retention: {outcomes_days: 30, max_db_mb: 2048}     # counted from arrival
inbox: {keep_days: 7}
redact: {extra: []}
auth: {tokens: [], signing_secrets: []}
client_ttl: 24h
store: {url: sqlite}     # or postgresql+psycopg://…
"""

FULL = """
sources: {support: {slo: 0.95, idempotent: [search], fallbacks: [gpt-4o-mini], trust: normal}}
fix: {auto: false, safe: [retry_logic, routing_config, threshold_tuning], undecided: remove}
verify: {ramp: [0.1, 0.5], command: pytest -q}
policy:
  - {source: support, task: "*", retry: {max_attempts: 3, on: [rate_limit], budget: 0.1}, timeout_s: 20}
  - {breaker: {failures: 5, reset_s: 30}, stop: {on: [auth]}, reask: {on: [output_parse], max: 1}}
targets: [{file: settings.toml, key: llm.timeout, type: int, min: 1, max: 60}]
notify:
  - {url: "https://example.org/hook", on: [proposal, rolled_back]}
  - command: notify-send rsi
    on: [alarm]
store: {url: "postgresql+psycopg://db/rsi"}
"""


def test_the_example_says_the_defaults():
    assert parse(yaml.safe_load(EXAMPLE)) == Config()


def test_every_key_of_the_example_is_known_and_none_is_missing_from_it():
    shown = yaml.safe_load(EXAMPLE)
    known = {field.name for field in msgspec.structs.fields(Config)}
    assert set(shown) <= known
    assert known - set(shown) == {"limits", "worker"}, "added keys are fine; a renamed one is not"


def test_a_full_file_is_taken_with_the_older_words_and_the_word_on():
    found = parse(yaml.safe_load(FULL))
    assert found.fix.safe == ["retry", "fallbacks", "timeout_s"]
    assert [one.on for one in found.notify] == [["proposal", "rolled_back"], ["alarm"]]
    assert found.policy[0]["retry"]["on"] == ["rate_limit"]
    assert found.policy[1]["stop"] == {"on": ["auth"]}
    publish.check_person(found)


def test_a_section_with_everything_commented_out_is_the_default():
    assert parse(yaml.safe_load("fix:\nverify:\n  holdout:\nsources: {app: }\n")) == Config()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("verify: {silent_after: -5}", "silent_after"),
        ("client_ttl: 0", "client_ttl"),
        ("fix: {saef: [retry]}", "saef"),
        ("fix: {safe: [rm]}", "rm"),
        ("fix: {undecided: maybe}", "undecided"),
        ("verify: {ramp: []}", "ramp"),
        ("verify: {silent_after: soon}", "silent_after"),
        ("- 1", "mapping"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(text, named):
    with pytest.raises(ConfigError, match=named):
        parse(yaml.safe_load(text))
