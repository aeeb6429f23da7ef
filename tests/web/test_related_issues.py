"""What may be the same as an issue, over HTTP."""

from __future__ import annotations

from rsi.store import related
from rsi.store.related import Near

BROKE = [
    {"task": "api", "source": "s", "success": False, "error": {"type": kind, "message": f"the {kind} broke"}}
    for kind in ("PumpError", "SoupError")
]


def test_one_issue_has_what_is_related_and_a_list_does_not(daemon):
    assert daemon.http.post("/v1/outcomes", json=BROKE).status_code == 202
    daemon.pipeline.cycle()
    assert daemon.http.get("/v1/issues/i1").json()["related"] == []
    daemon.store.write(lambda conn: related.put(conn, {2: [Near(1, 0.75, "other class")]}))
    one = daemon.http.get("/v1/issues/i1").json()
    listed = daemon.http.get("/v1/issues").json()["issues"]
    assert one.pop("related") == [
        {"issue": "i2", "title": listed[1]["title"], "category": listed[1]["category"], "cosine": 0.75,
         "why": "other class"}
    ]  # fmt: skip
    assert [(each["id"], each["n"]) for each in one.pop("templates")] == [(1, 1)]
    assert one.pop("templates_total") == 1
    assert one == listed[0]
    assert daemon.http.post("/v1/issues/merge", json={"a": "i1", "b": "i2"}, headers=daemon.boss).status_code == 200
    assert daemon.http.get("/v1/issues/i2").json()["related"] == []
    assert "related" in daemon.http.get("/openapi.json").text


def test_one_template_is_taken_out_by_its_number(daemon):
    assert daemon.http.post("/v1/outcomes", json=BROKE).status_code == 202
    daemon.pipeline.cycle()
    assert daemon.http.post("/v1/issues/merge", json={"a": "i1", "b": "i2"}, headers=daemon.boss).status_code == 200
    first, _ = daemon.http.get("/v1/issues/i1").json()["templates"]

    def split(**body):
        return daemon.http.post("/v1/issues/split", json={"id": "i1", **body}, headers=daemon.boss)

    assert split(fingerprint=99).status_code == 404
    for wrong in ("1", True, 1.5, [1]):
        assert (split(fingerprint=wrong).status_code, split(fingerprint=wrong).json()["field"]) == (422, "fingerprint")
    kept, made = split(fingerprint=first["id"]).json()["issues"]
    assert kept["id"] == "i1"
    assert [each["id"] for each in daemon.http.get(f"/v1/issues/{made['id']}").json()["templates"]] == [first["id"]]
    assert split().status_code == 409
