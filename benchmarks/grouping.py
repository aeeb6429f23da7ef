"""Which log lines say the same: Drain3 beside us, `python benchmarks/grouping.py [--data FILE] [--json]`.

Loghub-2k lines with their true template. Grouping accuracy (a line counts only if its group holds exactly the lines of
its template), pairwise F1 and adjusted Rand index for each system and on average, with the CPU rate of each method.
Nothing is set for one system. Drain3 is the comparison, not a dependency: `pip install --target /some/dir drain3==0.9.11`
and name the folder with `--drain3 /some/dir`.
"""

import argparse
import gzip
import json
import logging
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from rsi.analyze.cluster import Item
from rsi.analyze.grouping import group
from rsi.analyze.template import fingerprint, mask
from rsi.classify import classify

Lines = Sequence[str]
Labels = Sequence[object]
Method = Callable[[Lines], Labels]


def pairs(n: int) -> float:
    return n * (n - 1) / 2


def scores(found: Labels, true: Labels) -> dict[str, float]:
    """Grouping accuracy (Zhu et al., ICSE-SEIP 2019), pairwise F1, adjusted Rand index (Hubert and Arabie, 1985)."""
    ours, theirs = defaultdict(list), defaultdict(list)
    for n, (label, wanted) in enumerate(zip(found, true, strict=True)):
        ours[label].append(n)
        theirs[wanted].append(n)
    exact = sum(len(lines) for lines in ours.values() if theirs[true[lines[0]]] == lines)
    both = sum(pairs(n) for n in Counter(zip(found, true, strict=True)).values())
    mine = sum(pairs(len(lines)) for lines in ours.values())
    wanted = sum(pairs(len(lines)) for lines in theirs.values())
    chance = mine * wanted / pairs(len(true))
    most = (mine + wanted) / 2
    return {
        "ga": exact / len(true),
        "f1": 2 * both / (mine + wanted) if mine + wanted else 1.0,
        "ari": (both - chance) / (most - chance) if most != chance else 1.0,
    }


def drain(pre: Callable[[str], str] | None) -> Method:
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    def run(lines: Lines) -> Labels:
        config = TemplateMinerConfig()
        config.profiling_enabled = False
        miner = TemplateMiner(config=config)
        return [miner.add_log_message(pre(line) if pre else line)["cluster_id"] for line in lines]

    return run


def masked(lines: Lines) -> Labels:
    return [fingerprint(line).hash for line in lines]


def grouped(category: Callable[[str], str]) -> Method:
    """Mask, intern, and group the distinct templates of one category and class, as the product does."""

    def run(lines: Lines) -> Labels:
        keys, items = [], {}
        for line in lines:
            found, name = fingerprint(line), category(line)
            key = found.hash + name
            keys.append(key)
            items[key] = Item(key, name, found.template, found.error_type)
        place = {key: n for n, one in enumerate(group(list(items.values()))) for key in one.ids}
        return [place[key] for key in keys]

    return run


def methods() -> dict[str, Method]:
    return {
        "Drain3 0.9.11, defaults": drain(None),
        "Drain3 0.9.11, our masks": drain(mask),
        "ours: masks": masked,
        "ours: masks, groups": grouped(lambda _line: "unknown"),
        "ours: category, masks, groups": grouped(lambda line: classify(line).name),
    }


def read(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    systems: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            one = json.loads(line)
            texts, true = systems[one["system"]]
            texts.append(one["text"])
            true.append(one["template_id"])
    return dict(sorted(systems.items()))


def known_rate(run: Callable[[str], object], lines: Lines) -> float:
    """Texts a CPU second when every template is known and every digit is new."""
    rng = random.Random(7)
    again = [re.sub(r"[0-9]", lambda _: str(rng.randrange(10)), line) for line in lines]
    began = time.process_time()
    for line in again:
        run(line)
    return len(again) / (time.process_time() - began)


def measure(systems: dict[str, tuple[list[str], list[str]]]) -> dict[str, dict[str, object]]:
    classify("warm")
    result: dict[str, dict[str, object]] = {}
    for name, run in methods().items():
        per, spent = {}, 0.0
        for system, (lines, true) in systems.items():
            began = time.process_time()
            found = run(lines)
            spent += time.process_time() - began
            per[system] = scores(found, true)
        mean = {key: sum(one[key] for one in per.values()) / len(per) for key in ("ga", "f1", "ari")}
        result[name] = {
            "systems": per,
            "mean": mean,
            "texts_per_cpu_s": sum(len(t) for t, _ in systems.values()) / spent,
        }
    return result


def shown(result: dict[str, dict[str, object]], systems: Sequence[str]) -> None:
    names = list(result)
    print(f"{'grouping accuracy':<18}" + "".join(f"{name:>32}" for name in names))
    for system in systems:
        print(f"{system:<18}" + "".join(f"{result[name]['systems'][system]['ga']:>32.3f}" for name in names))
    for key in ("ga", "f1", "ari"):
        print(f"{'mean ' + key:<18}" + "".join(f"{result[name]['mean'][key]:>32.3f}" for name in names))
    print(f"{'texts / CPU s':<18}" + "".join(f"{result[name]['texts_per_cpu_s']:>32,.0f}" for name in names))


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--data", type=Path, default=Path("../shared/data/loghub2k.jsonl.gz"))
    asked.add_argument("--drain3", default="", help="folder that drain3 0.9.11 was installed into")
    asked.add_argument("--json", action="store_true")
    told = asked.parse_args()
    if told.drain3:
        sys.path.insert(0, told.drain3)
    try:
        import drain3  # noqa: F401 - only whether it is there
    except ImportError:
        print("drain3 is missing: pip install --target DIR drain3==0.9.11, then --drain3 DIR", file=sys.stderr)
        return 2
    if not told.data.exists():
        print(f"{told.data} is missing: name the Loghub file with --data", file=sys.stderr)
        return 2
    logging.disable(logging.CRITICAL)
    systems = read(told.data)
    result = measure(systems)
    lines = [line for texts, _ in systems.values() for line in texts]
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.profiling_enabled = False
    miner = TemplateMiner(config=config)
    for line in lines:
        fingerprint(line)
        miner.add_log_message(line)
    rates = {"ours": known_rate(fingerprint, lines), "drain3": known_rate(miner.add_log_message, lines)}
    if told.json:
        print(json.dumps({"methods": result, "known_templates_texts_per_cpu_s": rates}))
        return 0
    shown(result, list(systems))
    ratio = rates["ours"] / rates["drain3"]
    print(
        f"known templates, new digits: ours {rates['ours']:,.0f}, Drain3 {rates['drain3']:,.0f} texts / CPU s ({ratio:.2f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
