"""The short form of `benchmarks/scale.py`: what a killed worker loses, and what the order of arrival changes."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import text

from rsi.store import merges

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the worker is stopped by a signal before it is killed"),
]


@pytest.fixture(scope="module")
def scale():
    sys.path.insert(0, str(BENCHMARKS))
    import scale

    yield scale
    sys.path.remove(str(BENCHMARKS))
    sys.modules.pop("scale", None)


@pytest.fixture(scope="module")
def child(scale):
    """One worker for all homes here: its start takes longest."""
    with scale.worker("ngram") as made:
        yield made


def test_a_worker_killed_inside_a_request_loses_nothing_and_is_restarted(scale, child, tmp_path):
    child.embed(["the first request is not the one that is struck"])
    told = scale.kills(tmp_path, child, 80, scale.SHORT_PLAN)
    # where the kill struck depends on the machine; that nothing is lost does not
    assert told["stored"] == told["in_an_issue"] == told["counted"] == told["sent"], told
    assert (told["without_vector"], told["quarantined"], told["behind"], told["alive"]) == (0, 0, 0, True), told
    assert told["restarts"] >= 1, told
    assert told["pairs_unlike_undisturbed"] == 0, told


def test_one_batch_makes_the_same_issues_in_any_order(scale, child, tmp_path):
    texts = scale.wordings(160, 11)
    found = [scale.ordered(tmp_path / str(seed), child, texts, seed, 1) for seed in range(3)]
    assert len(found[0]) == len(texts)
    assert 1 < len(set(found[0].values())) < len(texts)
    assert [scale.unlike(found[0], one) for one in found[1:]] == [0, 0]


def test_the_difference_of_two_partitions_is_counted_in_pairs(scale):
    whole, halves = dict.fromkeys("abcd", 1), {"a": 1, "b": 1, "c": 2, "d": 2}
    assert scale.unlike(whole, dict(whole)) == 0
    assert scale.unlike(whole, halves) == scale.unlike(halves, whole) == 4


def test_merges_and_splits_survive_a_restart_and_clustering_again(scale, child, tmp_path):
    texts = scale.wordings(80, 5)
    with scale.Place(tmp_path, child) as place:
        place.send(scale.failure(f"o{n}", said) for n, said in enumerate(texts))
        place.settle()
        one, other, kept, made, parted = decided(place)
        before = place.partition()
    os.kill(child.status().pid, signal.SIGKILL)
    with scale.Place(tmp_path, child) as place:
        assert place.partition() == before
        place.send(scale.failure(f"n{n}", said) for n, said in enumerate([*texts, *scale.wordings(160, 5)[80:]]))
        place.settle()
        after = place.partition()
        templates = fingerprints(place)
    assert {name: after[name] for name in before} == before
    assert {after[f"n{n}"] for n in range(len(texts)) if before[f"o{n}"] == one} == {one}
    assert other not in after.values()
    assert templates[parted] == made != kept


def decided(place):
    """A person merges the first two issues of a category, and parts the issue with the most templates."""
    held = Counter(fingerprints(place).values())
    most = held.most_common(1)[0][0]
    categories = {}
    with place.store.read() as conn:
        for row in conn.execute(text("SELECT cluster, category FROM fingerprints ORDER BY cluster")):
            if row.cluster != most:
                categories.setdefault(row.category, {})[row.cluster] = True
    one, other = next(list(found)[:2] for found in categories.values() if len(found) > 1)
    parted = max(key for key, cluster in fingerprints(place).items() if cluster == most)

    def job(conn):
        merges.merge(conn, f"i{one}", f"i{other}", "person:test")
        return merges.split(conn, f"i{most}", "person:test", fingerprint=parted)

    done = place.store.write(job)
    return one, other, int(done.kept[1:]), int(done.made[1:]), parted


def fingerprints(place):
    """Template → issue number."""
    with place.store.read() as conn:
        return {row.id: row.cluster for row in conn.execute(text("SELECT id, cluster FROM fingerprints"))}
