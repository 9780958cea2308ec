"""What schemathesis cannot know of Berth: which ids there are, who asks, how long to wait; and two checks of our own.

Loaded by `cargo xtask schemathesis` (SCHEMATHESIS_HOOKS). Whatever schemathesis makes up, three requests in four are turned so that
they reach something: a tenant of three, an id that was seen before, a size that fits. The fourth goes out as it was made up.
"""

import os
import random
from collections import defaultdict, deque
from urllib.parse import unquote

import schemathesis

ADMIN = "e93b4c0934da416eb9c8d120c5d04d96"
TENANTS = [ADMIN, "a", "b"]
# Old things are mostly gone; so many of each kind are tried again.
SEEN_MAX = 40

choice = random.Random(int(os.environ["BERTH_SEED"]))
# (tenant, collection) -> ids
seen = defaultdict(lambda: deque(maxlen=SEEN_MAX))
# What a field of a body names.
NAMED = {
    "volumeId": "volumes",
    "hostId": "hosts",
    "snapshotId": "snapshots",
    "profileId": "profiles",
    "poolId": "pools",
}
# What all tenants share.
SHARED = ("profiles", "pools", "docks")


def is_json(response):
    """Pages, pictures and what has no body are not looked into."""
    return bool(response.content) and "application/json" in "".join(response.headers.get("content-type", []))


def mostly():
    return choice.random() < 0.75


def collection(path):
    """The collection that a path below a tenant is about: `volumes` of `/v1beta/{tenant}/block/volumes/{id}/retry`."""
    parts = path.split("/")[3:]
    return parts[1] if parts[:1] in (["block"], ["host"]) else (parts[0] if parts else "")


def asking(case):
    """The tenant of the path, as the server reads it: path parameters are kept encoded."""
    tenant = (case.path_parameters or {}).get("tenant")
    return None if tenant is None else unquote(str(tenant))


def known(tenant, kind):
    ids = seen[("" if kind in SHARED else tenant, kind)]
    return choice.choice(ids) if ids else None


@schemathesis.hook
def before_call(context, case, kwargs):
    where = case.path_parameters or {}
    if "tenant" in where and mostly():
        where["tenant"] = choice.choice(TENANTS)
    tenant = asking(case)
    if "id" in where and mostly():
        where["id"] = known(tenant, collection(case.path)) or where["id"]
    if isinstance(case.body, dict):
        fitting(tenant, case.body)
    # A long poll would take the time of a thousand other requests. What is no number stays, to be refused.
    if case.query and "waitFor" in case.query and str(case.query.get("timeout", "1")).isdigit():
        case.query["timeout"] = 0


def fitting(tenant, body):
    """Names what there is, and sizes that fit."""
    for field, kind in NAMED.items():
        if field in body and mostly():
            body[field] = known(tenant, kind) or body[field]
    for field in ("size", "newSize"):
        if isinstance(body.get(field), int) and mostly():
            body[field] = 1 + abs(body[field]) % 4
    # Each is optional, and a random one is refused: then nothing would ever be made.
    for field in ("availabilityZone", "snapshotId", "groupId", "replicationId", "snapshotFromCloud", "id"):
        if field in body and mostly():
            del body[field]


@schemathesis.hook
def after_call(context, case, response):
    tenant = asking(case)
    kind = collection(case.path)
    if response.status_code >= 300 or not kind or not is_json(response):
        return
    body = response.json()
    # Of a collection and of a thing itself; journals and properties hold other things.
    if case.path.rstrip("/").endswith((kind, "{id}")):
        for one in body if isinstance(body, list) else [body]:
            if isinstance(one, dict) and "id" in one:
                ids = seen[("" if kind in SHARED else one.get("tenantId", tenant), kind)]
                if one["id"] not in ids:
                    ids.append(one["id"])


@schemathesis.check
def tenants_are_apart(context, response, case):
    """Nobody but the administrator sees what is another's."""
    tenant = asking(case)
    # Properties are the words of whoever made them: one may be called as a field is.
    if tenant == ADMIN or response.status_code >= 300 or not is_json(response) or "/customProperties" in case.path:
        return
    body = response.json()
    for one in body if isinstance(body, list) else [body]:
        owner = one.get("tenantId", tenant) if isinstance(one, dict) else tenant
        assert owner == tenant, f"tenant {tenant!r} sees what is {owner!r}'s"


@schemathesis.check
def errors_are_explained(context, response, case):
    """Every error says what it is, in JSON, under the request's id."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    error = response.json()
    assert error["code"] == error["status"] == response.status_code, f"{error} came with {response.status_code}"
    assert error["message"] and error["type"], f"{error} says nothing"
    assert [error["requestId"]] == list(response.headers["x-request-id"]), f"{error} came under another id"
