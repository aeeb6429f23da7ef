"""Hooks go into a settings text and out of it again: only our characters are added, and exactly those leave."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.errors import InvalidInputError
from rsi_adapters.claude_code import splice, wiring
from rsi_adapters.claude_code.adapter import ClaudeCodeAdapter
from rsi_adapters.claude_code.wiring import Wires

WIRES = Wires(url="http://127.0.0.1:7474", home_mark="abc")
HOOKS = wiring.hooks(WIRES)

_user_hooks = st.fixed_dictionaries(
    {},
    optional={
        event: st.lists(
            st.fixed_dictionaries(
                {"hooks": st.lists(st.just({"type": "command", "command": "true"}), max_size=2)},
                optional={"matcher": st.text(max_size=5)},
            ),
            max_size=3,
        )
        for event in ("SessionStart", "PostToolUseFailure", "SessionEnd", "Stop", "PreToolUse")
    },
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_settings = st.builds(
    lambda others, hooks, first: {**({"hooks": hooks} if hooks is not None and first else {}), **others, **({"hooks": hooks} if hooks is not None and not first else {})},
    st.dictionaries(st.text(max_size=6).filter(lambda key: key != "hooks"), _json, max_size=4),
    st.none() | _user_hooks,
    st.booleans(),
)  # fmt: skip
_printed = st.builds(
    lambda value, indent, ascii_, end, crlf, separators: (
        json.dumps(value, indent=indent, ensure_ascii=ascii_, separators=separators) + end
    ).replace("\n", "\r\n" if crlf else "\n"),
    _settings,
    st.sampled_from([None, 1, 2, 4, "\t"]),
    st.booleans(),
    st.sampled_from(["", "\n", "\n\n  "]),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
)


@settings(max_examples=150, deadline=None)
@given(_printed)
def test_connect_and_disconnect_are_one_identity(text: str) -> None:
    """For any settings and any way to write them: every byte comes back."""
    adapter = ClaudeCodeAdapter()
    done = adapter.connect(text.encode(), WIRES)
    assert done.after is not None
    found = json.loads(done.after)
    for event, groups in HOOKS.items():
        assert found["hooks"][event][-len(groups) :] == groups
    assert adapter.disconnect(done.after, done.undo).after == text.encode()
    again = adapter.connect(done.after, WIRES, done.undo)
    assert again.after == done.after


@settings(max_examples=100, deadline=None)
@given(_printed)
def test_without_the_record_everything_of_the_users_stays(text: str) -> None:
    """The home is gone or the file was reformatted: our groups leave, what is the user's keeps its meaning."""
    adapter = ClaudeCodeAdapter()
    done = adapter.connect(text.encode(), WIRES)
    reformatted = json.dumps(json.loads(done.after or b""), indent=3)
    back = adapter.disconnect(reformatted.encode(), done.undo).after
    before, after = json.loads(text), json.loads(back or b"{}")
    assert {k: v for k, v in after.items() if k != "hooks"} == {k: v for k, v in before.items() if k != "hooks"}
    kept = {event: groups for event, groups in before.get("hooks", {}).items() if groups}
    assert {event: groups for event, groups in after.get("hooks", {}).items() if groups} == kept


def test_what_the_user_wrote_between_connect_and_disconnect_stays() -> None:
    """Only our characters are taken back."""
    adapter = ClaudeCodeAdapter()
    before = '{\n  "model": "opus",\n  "hooks": {\n    "Stop": []\n  }\n}\n'
    done = adapter.connect(before.encode(), WIRES)
    edited = (done.after or b"").decode().replace('"opus"', '"haiku",\n  "theme": "dark"')
    back = adapter.disconnect(edited.encode(), done.undo).after
    assert back == before.replace('"opus"', '"haiku",\n  "theme": "dark"').encode()


def test_a_file_that_we_made_goes_and_one_that_was_filled_stays() -> None:
    """`created` is remembered; the user's additions to our file are his."""
    adapter = ClaudeCodeAdapter()
    done = adapter.connect(None, WIRES)
    assert adapter.disconnect(done.after, done.undo).after is None
    filled = (done.after or b"").decode().replace("{\n", '{\n  "model": "opus",\n', 1)
    assert json.loads(adapter.disconnect(filled.encode(), done.undo).after or b"") == {"model": "opus"}


def test_connecting_again_with_another_address_replaces_our_hooks() -> None:
    """No second set of hooks, which would ask twice."""
    adapter = ClaudeCodeAdapter()
    first = adapter.connect(b"{}", WIRES)
    moved = adapter.connect(first.after, Wires(url="http://127.0.0.1:9999"), first.undo)
    text = (moved.after or b"").decode()
    assert (text.count("/v1/hooks/claude-code"), text.count("9999")) == (1, 1)
    assert adapter.disconnect(moved.after, moved.undo).after == b"{}"


@pytest.mark.parametrize("text", ["[]", '{"hooks": []}', '{"hooks": {"SessionEnd": {}}}', "{'a': 1}", '{"a": 1,}'])
def test_what_is_no_settings_file_is_refused_and_named(text: str) -> None:
    """Nothing is guessed into a file that Claude Code would not read."""
    with pytest.raises(InvalidInputError, match=r"settings\.json"):
        splice.add(text, HOOKS)


def test_the_hooks_say_no_secret_and_nobodys_path() -> None:
    """A token comes from a variable, a shared file calls `rsi` by its name."""
    wires = Wires(url="http://127.0.0.1:7474", token=True, home=wiring.PROJECT, keep_input=True)
    hooks: dict[str, Any] = wiring.hooks(wires)
    assert hooks["PostToolUseFailure"][0]["hooks"][0] == {
        "type": "http", "url": "http://127.0.0.1:7474/v1/hooks/claude-code?input=1", "timeout": 2,
        "headers": {"Authorization": "Bearer $RSI_TOKEN"}, "allowedEnvVars": ["RSI_TOKEN"],
    }  # fmt: skip
    command = 'rsi --home "$CLAUDE_PROJECT_DIR" hook claude-code --tool-input'
    assert hooks["StopFailure"][0]["hooks"][0]["command"] == command
    behind = hooks["SessionEnd"][0]["hooks"][0]["command"]
    assert command in behind
    assert behind.endswith(" &")
    assert all(wiring.is_ours(group) for groups in hooks.values() for group in groups)
    assert not wiring.is_ours({"hooks": [{"type": "command", "command": "rsi status"}]})
    assert not wiring.is_ours({"hooks": [{"type": "command", "command": "true"}, *hooks["SessionEnd"][0]["hooks"]]})
