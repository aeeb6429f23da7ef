"""Generated YAML, JSON and TOML documents with comments and odd formatting, and where their values stand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st

KEYS = ["retries", "timeout", "model", "on", "a", "b-c", "d.e", "x y", "no", "ключ", "1", "true"]
TEXTS = [
    "gpt-4o",
    "it's",
    'say "hi"',
    "yes",
    "0o7",
    "1e3",
    "# no comment",
    "a: b",
    "ü😀",
    "",
    "- x",
    "2020-01-01",
    "null",
    "{}",
    "x y",
]
COMMENTS = ["# c", "#", "#: [1, 2]", "# retries: 9 \"q' {", "# ü"]


@dataclass
class Document:
    """`text` and, for every scalar, its path, its value and its characters."""

    name: str
    text: str
    spots: list[tuple[tuple[str, ...], object, str]]
    newline: str = "\n"
    bom: bool = False
    odd: bool = field(default=False)

    @property
    def data(self) -> bytes:
        return (b"\xef\xbb\xbf" if self.bom else b"") + self.text.replace("\n", self.newline).encode()


def tree(random: Random, depth: int = 0):
    """A mapping of scalars, lists and mappings; never empty."""
    found = {}
    for key in random.sample(KEYS, random.randint(1, 5)):
        kind = random.random()
        if depth < 3 and kind < 0.3:
            found[key] = tree(random, depth + 1)
        elif depth < 3 and kind < 0.42:
            found[key] = [
                tree(random, depth + 2) if random.random() < 0.4 else scalar(random)
                for _ in range(random.randint(1, 3))
            ]
        else:
            found[key] = scalar(random)
    return found


def scalar(random: Random):
    return random.choice(
        [
            random.randint(-50, 5000),
            random.choice([0.5, 30.0, -1.25, 1e-7, 12345.678]),
            random.random() < 0.5,
            random.choice(TEXTS),
        ]
    )


class _Writer:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.spots: list[tuple[tuple[str, ...], object, str]] = []

    def spot(self, path, value, raw):
        self.spots.append((path, value, raw))
        return raw

    def pad(self) -> str:
        return " " * self.random.choice([0, 0, 1, 3])

    def number(self, value) -> str:
        text = repr(value)
        return text.replace("e-", ".0e-") if "e" in text and "." not in text else text


class _Json(_Writer):
    def write(self, value, path=()) -> str:
        pad = lambda: self.random.choice(["", " ", "\n", "\n\t", "   "])  # noqa: E731
        if isinstance(value, dict):
            inner = ",".join(
                f"{pad()}{json.dumps(k)}{self.pad()}:{pad()}{self.write(v, (*path, k))}{pad()}"
                for k, v in value.items()
            )
            return "{" + inner + "}"
        if isinstance(value, list):
            return "[" + ",".join(f"{pad()}{self.write(v, (*path, str(i)))}{pad()}" for i, v in enumerate(value)) + "]"
        raw = json.dumps(value, ensure_ascii=self.random.random() < 0.5)
        return self.spot(path, value, raw)


class _Toml(_Writer):
    def write(self, value, path=()) -> str:
        plain = {k: v for k, v in value.items() if not isinstance(v, dict) or self.random.random() < 0.2}
        lines = [f"[{'.'.join(self.key(p) for p in path)}]{self.pad()}{self.comment()}"] if path else []
        for k, v in plain.items():
            if self.random.random() < 0.2:
                lines.append(self.random.choice(["", f"  {self.random.choice(COMMENTS)}"]))
            lines.append(
                f"{self.pad()}{self.key(k)}{self.pad()}={self.pad()}{self.inline(v, (*path, k))}{self.comment()}"
            )
        for k, v in value.items():
            if k not in plain:
                lines.append(self.write(v, (*path, k)))
        return "\n".join(lines)

    def key(self, text):
        bare = all(c.isascii() and (c.isalnum() or c in "-_") for c in text)
        return text if bare and self.random.random() < 0.8 else json.dumps(text, ensure_ascii=False)

    def comment(self):
        return f" {self.random.choice(COMMENTS)}" if self.random.random() < 0.3 else ""

    def inline(self, value, path):
        if isinstance(value, dict):
            return (
                "{"
                + ", ".join(
                    f"{self.pad()}{self.key(k)} ={self.pad()}{self.inline(v, (*path, k))}{self.pad()}"
                    for k, v in value.items()
                )
                + "}"
            )
        if isinstance(value, list):
            pad = lambda: self.random.choice(["", " ", "\n  ", " # in\n "])  # noqa: E731
            return (
                "["
                + ",".join(f"{pad()}{self.inline(v, (*path, str(i)))}{self.pad()}" for i, v in enumerate(value))
                + pad()
                + "]"
            )
        if isinstance(value, bool):
            return self.spot(path, value, "true" if value else "false")
        if isinstance(value, int | float):
            return self.spot(path, value, self.number(value))
        literal = "'" not in value and self.random.random() < 0.5
        return self.spot(path, value, f"'{value}'" if literal else json.dumps(value, ensure_ascii=False))


class _Yaml(_Writer):
    def write(self, value, path=(), indent=0) -> str:
        """The lines of a block mapping."""
        lines = []
        for k, v in value.items():
            if self.random.random() < 0.2:
                lines.append(self.random.choice(["", " " * indent + self.random.choice(COMMENTS), "   "]))
            head = " " * indent + self.key(k) + self.random.choice(["", "", " "]) + ":"
            lines.append(head + self.below(v, (*path, k), indent))
        return "\n".join(lines)

    def below(self, value, path, indent) -> str:
        if isinstance(value, dict) and self.random.random() < 0.8:
            return self.comment() + "\n" + self.write(value, path, indent + self.random.randint(1, 4))
        if isinstance(value, list) and self.random.random() < 0.6:
            deeper = indent + self.random.choice([0, 2, 3])
            return self.comment() + "".join(
                "\n" + " " * deeper + "-" + self.entry(v, (*path, str(i)), deeper) for i, v in enumerate(value)
            )
        return " " + self.pad() + self.flow(value, path) + self.comment()

    def entry(self, value, path, indent) -> str:
        if isinstance(value, dict) and self.random.random() < 0.7:
            gap = self.random.randint(1, 3)
            return " " * gap + self.write_tight(value, path, indent + 1 + gap)
        return " " + self.flow(value, path) + self.comment()

    def write_tight(self, value, path, indent) -> str:
        return ("\n" + " " * indent).join(
            f"{self.key(k)}: {self.flow(v, (*path, k))}{self.comment()}" for k, v in value.items()
        )

    def key(self, text):
        plain = all(c.isalnum() or c in "-_" for c in text) and text not in ("on", "no", "true", "1")
        return text if plain and self.random.random() < 0.8 else json.dumps(text, ensure_ascii=False)

    def comment(self):
        return f"  {self.random.choice(COMMENTS)}" if self.random.random() < 0.3 else ""

    def flow(self, value, path):
        if isinstance(value, dict):
            return (
                "{"
                + ",".join(
                    f"{self.pad()}{self.key(k)}: {self.flow(v, (*path, k))}{self.pad()}" for k, v in value.items()
                )
                + "}"
            )
        if isinstance(value, list):
            return (
                "["
                + ",".join(f"{self.pad()}{self.flow(v, (*path, str(i)))}{self.pad()}" for i, v in enumerate(value))
                + "]"
            )
        if isinstance(value, bool):
            return self.spot(
                path, value, self.random.choice(["true", "True", "TRUE"] if value else ["false", "False", "FALSE"])
            )
        if isinstance(value, int | float):
            return self.spot(path, value, self.number(value))
        style = self.random.random()
        if value == "gpt-4o" and style < 0.5:
            return self.spot(path, value, value)
        if style < 0.75 and "😀" not in value:
            return self.spot(path, value, "'" + value.replace("'", "''") + "'")
        return self.spot(path, value, json.dumps(value, ensure_ascii=False))


#: What lies about in real files: none of it may change or keep an edit from happening.
_YAML_EXTRAS = [
    "",
    "zz-text: |\n  [x\n   y\n",
    "zz-anchor: &q {k: 1}\nzz-alias: *q\n",
    "zz-tag: !env HOME\n",
    "zz-merge: &m {p: 1}\nzz-m2:\n  <<: *m\n  r: 2\n",
    "zz-empty:\n",
]


@st.composite
def documents(draw) -> Document:
    """One document of one of the three formats."""
    random = draw(st.randoms(use_true_random=False))
    name = random.choice(["c.yaml", "c.yml", "c.json", "deep/c.toml"])
    data = tree(random)
    writer = _Json(random) if name.endswith("json") else _Toml(random) if name.endswith("toml") else _Yaml(random)
    text = writer.write(data)
    if isinstance(writer, _Yaml):
        text = (
            random.choice(["", "# head\n", "---\n", "%YAML 1.2\n---\n", "\n\n"])
            + text
            + "\n"
            + random.choice(_YAML_EXTRAS)
        )
        text = (
            text.rstrip("\n")
            if random.random() < 0.2 and not text.endswith("y\n")
            else text + random.choice(["", "...\n", "# tail"])
        )
    else:
        text += random.choice(["", "\n", "\n\n"])
    return Document(name, text, writer.spots, newline=random.choice(["\n", "\n", "\r\n"]), bom=random.random() < 0.15)
