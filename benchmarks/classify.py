"""How well are errors told apart? `rsi classify` beside four other tables, Drain3 and grouping by exception type, in one run.

    python benchmarks/classify.py                        # makes the environments on first use, generates the corpus, scores it
    python benchmarks/classify.py --corpus DIR           # reuse (or, where it is empty, keep) tune.jsonl and unseen.jsonl there
    python benchmarks/classify.py --texts FILE.jsonl     # any labelled texts: {"text", "category", …}

The corpus is raised from the real classes of some twenty packages (benchmarks/corpus/README.md). Its templates stand in two
halves: rules may be tuned on `tune`; of `unseen` only figures are printed. `unknown` counts as wrong everywhere.

What the lines mean: *macro* is the mean over categories, *micro* over texts, *by template* over templates, *all right* the
share of templates of which every text was right; *lenient* also takes a second category where two rows of the taxonomy fit
(`also` in the corpus). The other tables are scored generously: see benchmarks/corpus/peers.py for what their labels may mean.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "corpus"))

NEVER_RETRIED = ("quota_exhausted", "auth", "permission", "refusal")
RETRIED = ("rate_limit", "overloaded", "provider_5xx", "connection", "timeout_model", "timeout_tool")
PROSE = {"prose", "language"}
FIELDS = ("text", "error_type", "status", "provider")
ENGINES = {"main": ["litellm", "pydantic_ai", "rsi_loop", "drain3"], "crewai": ["crewai"]}
TABLES = ("litellm", "crewai", "pydantic_ai", "rsi_loop")
EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?([A-Z]\w+)(?::|\(|$)|\b(?:[a-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Exceeded|Triggered|Timeout|Interrupt|Pending|Aborted))\b",
    re.MULTILINE,
)

Row = dict[str, Any]


def ours(rows: list[Row]) -> list[Row]:
    """What `rsi classify -` answers, in a home of its own, with the built-in rules."""
    with tempfile.TemporaryDirectory(prefix="rsi-classify-") as home:
        return piped([sys.executable, "-m", "rsi", "--home", home, "classify", "-"], rows)


def piped(command: list[Any], rows: list[Row]) -> list[Row]:
    """JSONL through another process; one answer a line, in order."""
    lines = "".join(
        json.dumps({name: row[name] for name in FIELDS if row.get(name) is not None}, ensure_ascii=False) + "\n"
        for row in rows
    )
    done = subprocess.run([str(word) for word in command], input=lines.encode(), capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr.decode(errors='replace')[-3000:]}")
    answers = [json.loads(line) for line in done.stdout.decode().splitlines() if line.strip()]
    if len(answers) != len(rows):
        raise SystemExit(f"{command[0]} answered {len(answers)} lines to {len(rows)} texts")
    return answers


def peers(rows: list[Row], pythons: dict[str, Path]) -> list[Row]:
    """Every other engine's answer to every text."""
    parts = [piped([pythons[name], HERE / "corpus" / "peers.py", *engines], rows) for name, engines in ENGINES.items()]
    return [{key: value for part in answers for key, value in part.items()} for answers in zip(*parts, strict=True)]


def mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept) if kept else float("nan")


def accuracy(rows: list[Row], said: list[list[str]]) -> dict[str, Any]:
    """`said`: per text the categories that the answer may mean; one for us, sometimes more for the others."""
    right = [row["category"] in answer for row, answer in zip(rows, said, strict=True)]
    lenient = [
        bool({row["category"], *row.get("also", ())} & set(answer)) for row, answer in zip(rows, said, strict=True)
    ]

    def over(field: str, hits: list[bool]) -> dict[str, float]:
        groups: dict[str, list[bool]] = defaultdict(list)
        for row, hit in zip(rows, hits, strict=True):
            groups[row.get(field, "?")].append(hit)
        return {name: mean(found) for name, found in sorted(groups.items())}

    templates = over("template", right)
    return {
        "macro": mean(over("category", right).values()), "micro": mean(right), "by_template": mean(templates.values()),
        "all_right": mean(value == 1.0 for value in templates.values()), "lenient_macro": mean(over("category", lenient).values()),
        "unknown": mean(not answer or answer == ["unknown"] for answer in said),
        "categories": over("category", right), "formats": over("format", right), "packages": over("package", right),
    }  # fmt: skip


def retries(rows: list[Row], said: list[list[str]], retryable: Callable[[str], bool]) -> dict[str, Any]:
    """How many texts of each category would be tried again. Wrong ones are counted by what they truly are."""
    advised: dict[str, list[bool]] = defaultdict(list)
    for row, answer in zip(rows, said, strict=True):
        advised[row["category"]].append(any(retryable(category) for category in answer))
    return {
        "never": {name: sum(advised[name]) for name in NEVER_RETRIED if advised[name]},
        "wanted": {name: mean(advised[name]) for name in RETRIED if advised[name]},
    }


def exception_type(row: Row) -> str:
    """Grouping by exception type: the field, else the last class that the text names."""
    found = EXCEPTION.findall(row["text"])
    return (row.get("error_type") or "").rpartition(".")[2] or (next(filter(None, found[-1])) if found else "none")


def clusters(rows: list[Row], labels: list[str]) -> dict[str, float]:
    """Against the true causes. Texts that two causes have word for word are left out: nobody could tell them apart."""
    from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure
    from sklearn.metrics.cluster import pair_confusion_matrix

    owners: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in rows:
        owners[tuple(row.get(name) for name in FIELDS)].add(row["cause"])
    kept = [
        (row["cause"], label)
        for row, label in zip(rows, labels, strict=True)
        if len(owners[tuple(row.get(name) for name in FIELDS)]) == 1
    ]
    truth, found = [cause for cause, _ in kept], [label for _, label in kept]
    homogeneity, completeness, _ = homogeneity_completeness_v_measure(truth, found)
    (_, false_pairs), (missed, true_pairs) = pair_confusion_matrix(truth, found)
    return {
        "ari": float(adjusted_rand_score(truth, found)), "homogeneity": float(homogeneity), "completeness": float(completeness),
        "pair_precision": float(true_pairs / max(true_pairs + false_pairs, 1)), "pair_recall": float(true_pairs / max(true_pairs + missed, 1)),
        "clusters": len(set(found)), "causes": len(set(truth)), "texts": len(kept),
    }  # fmt: skip


def our_cluster(answer: Row) -> str:
    """What `rsi classify` calls the cluster; where it names none, category and fingerprint."""
    return str(answer.get("cluster") or f"{answer['category']}/{answer['fingerprint']}")


def confusions(rows: list[Row], answers: list[Row]) -> list[Row]:
    """Wrong answers, most frequent first, each with the template and one example."""
    wrong: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row, answer in zip(rows, answers, strict=True):
        if row["category"] != answer["category"]:
            wrong[row["category"], answer["category"], row.get("template", "?")].append({**row, "by": answer["by"]})
    ordered = sorted(wrong.items(), key=lambda item: -len(item[1]))
    return [
        {"true": true, "said": said, "template": template, "n": len(found), "by": Counter(one["by"] for one in found).most_common(1)[0][0], "formats": sorted({one.get("format", "?") for one in found}), "example": min((one["text"] for one in found), key=len)[:160]}
        for (true, said, template), found in ordered
    ]  # fmt: skip


def scored(name: str, rows: list[Row], pythons: dict[str, Path], show: bool) -> dict[str, Any]:
    """Everything about one set of texts."""
    from rsi.classify import retryable

    began = time.perf_counter()
    answers = ours(rows)
    spent = time.perf_counter() - began
    others = peers(rows, pythons)
    said: dict[str, list[list[str]]] = {"rsi": [[answer["category"]] for answer in answers]}
    said |= {engine: [other[engine] for other in others] for engine in TABLES}
    report: dict[str, Any] = {
        "name": name, "texts": len(rows), "templates": len({row.get("template") for row in rows}), "packages": len({row.get("package") for row in rows}), "categories": len({row["category"] for row in rows}),
        "seconds": spent, "accuracy": {engine: accuracy(rows, answer) for engine, answer in said.items()}, "retries": {engine: retries(rows, answer, retryable) for engine, answer in said.items()},
        "by": dict(Counter(answer["by"].partition(":")[0] for answer in answers)),
    }  # fmt: skip
    if all("cause" in row or "template" in row for row in rows):
        rows = [{"cause": row.get("cause") or row["template"], **row} for row in rows]
        labels = {
            "rsi": [our_cluster(answer) for answer in answers],
            "drain3": [other["drain3"][0] for other in others],
            "exception type": [exception_type(row) for row in rows],
        }
        machine = [place for place, row in enumerate(rows) if row.get("format") not in PROSE]
        report["clusters"] = {engine: clusters(rows, found) for engine, found in labels.items()}
        report["clusters_machine"] = {
            engine: clusters([rows[i] for i in machine], [found[i] for i in machine])
            for engine, found in labels.items()
        }
    if show:
        report["confusions"] = confusions(rows, answers)
    return report


def table(head: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *lines]
    )


def figure(value: float) -> str:
    return f"{value:.3f}"


def printed(report: dict[str, Any]) -> None:
    """The compact form."""
    print(
        f"\n== {report['name']}: {report['texts']} texts, {report['templates']} templates, {report['packages']} packages, {report['categories']} categories; rsi classify took {report['seconds']:.1f} s, decided by {report['by']}"
    )
    names = ["macro", "micro", "by_template", "all_right", "lenient_macro", "unknown"]
    print(
        table(
            ["accuracy", *(name.replace("_", " ") for name in names)],
            [[engine, *(figure(found[name]) for name in names)] for engine, found in report["accuracy"].items()],
        )
    )
    print()
    wanted = [name for name in RETRIED if name in report["retries"]["rsi"]["wanted"]]
    never = [name for name in NEVER_RETRIED if name in report["retries"]["rsi"]["never"]]
    lines = [
        [engine, *(str(found["never"][name]) for name in never), *(figure(found["wanted"][name]) for name in wanted)]
        for engine, found in report["retries"].items()
    ]
    print(table(["retries advised", *(f"{name} (0)" for name in never), *wanted], lines))
    for key, title in (("clusters", "clusters"), ("clusters_machine", "clusters, without prose")):
        if key in report:
            names = ["ari", "homogeneity", "completeness", "pair_precision", "pair_recall"]
            lines = [
                [engine, *(figure(found[name]) for name in names), str(found["clusters"]), str(found["causes"])]
                for engine, found in report[key].items()
            ]
            print("\n" + table([title, *(name.replace("_", " ") for name in names), "clusters", "causes"], lines))
    engines = list(report["accuracy"])
    for key in ("categories", "formats"):
        groups = list(report["accuracy"]["rsi"][key])
        print(
            "\n"
            + table(
                [key, *engines],
                [[name, *(figure(report["accuracy"][engine][key][name]) for engine in engines)] for name in groups],
            )
        )
    for wrong in report.get("confusions", []):
        print(
            f"{wrong['n']:4} {wrong['true']} → {wrong['said']}  {wrong['template']} ({wrong['by']}; {', '.join(wrong['formats'])})\n       {wrong['example']!r}"
        )


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def halves(folders: list[Path], pythons: Callable[[], dict[str, Path]]) -> dict[str, list[Row]]:
    """The halves that lie in these folders; generated (and kept in the first folder) where there are none."""
    import build
    from split import halves as parted

    found = {
        path.stem: read(path)
        for folder in folders
        for path in (folder / "tune.jsonl", folder / "unseen.jsonl")
        if path.exists()
    }
    if not found:
        found = parted(build.rows(pythons()))
        for half, kept in found.items() if folders else ():
            build.write(folders[0], half, kept)
    return found


def main() -> None:
    import build

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpus",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where tune.jsonl and unseen.jsonl lie or shall lie; may be given twice",
    )
    parser.add_argument("--texts", type=Path, metavar="FILE", help="score these labelled texts instead")
    parser.add_argument(
        "--venvs", type=Path, default=build.VENVS, metavar="DIR", help="where the environments are kept (.venvs)"
    )
    parser.add_argument(
        "--show-unseen",
        action="store_true",
        help="print wrong answers of the unseen half too: then it is no longer unseen",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    asked = parser.parse_args()
    pythons = build.interpreters(asked.venvs.resolve())
    sets = {asked.texts.stem: read(asked.texts)} if asked.texts else halves(asked.corpus, lambda: pythons)
    reports = [scored(name, rows, pythons, name != "unseen" or asked.show_unseen) for name, rows in sets.items()]
    if asked.json:
        print(json.dumps({"reports": reports}, ensure_ascii=False))
        return
    for report in reports:
        printed(report)


if __name__ == "__main__":
    main()
