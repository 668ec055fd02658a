"""Requests made from the OpenAPI document, as a stranger's client might send them: never an error of ours."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine import Models
from service.keys import Keys
from service.settings import Settings
from service.store import Store
from tests.conftest import serving


@pytest.fixture
def stranger(models: Models, database_url: str) -> Iterator[httpx.Client]:
    """With an admin's key to the service, over a store with three submissions and a case."""
    chosen = Settings(database_url=database_url, max_chars=200, max_items=4)
    store = Store(chosen.database_url, chosen.office_id)
    _, secret = Keys(store).add("外来程序", "admin", "王芳")
    headers = {"Authorization": f"Bearer {secret}"}
    with serving(chosen, models, store) as found, httpx.Client(base_url=found, headers=headers, timeout=60) as client:
        items = [{"external_id": str(n), "text": "小区门口的路灯坏了半个月没人修"} for n in range(3)]
        client.post("/v1/submissions", json={"items": items}).raise_for_status()
        case = {"lead": 1, "members": [1, 2], "actor": "王芳", "reason": "同一盏灯"}
        client.post("/v1/cases", json=case).raise_for_status()
        yield client
    store.close()


def test_no_request_makes_the_service_fail(stranger: httpx.Client) -> None:
    document = stranger.get("/openapi.json").json()
    operations = [result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations()]
    assert {o.label for o in operations} == {f"{m.upper()} {p}" for p, ms in document["paths"].items() for m in ms}
    for operation in operations:
        _try(operation, stranger)
    assert stranger.get("/readyz").json()["status"] == "ok"


def _try(operation: schemathesis.APIOperation, stranger: httpx.Client) -> None:
    # A number that exists is tried as well as those that are made up.
    @settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), there=st.booleans())
    def attempt(case: schemathesis.Case, there: bool) -> None:
        if there and "number" in case.path_parameters:
            case.path_parameters["number"] = 1
        headers = {"Authorization": stranger.headers["Authorization"]}
        response = case.call(base_url=str(stranger.base_url), headers=headers, timeout=60)
        assert response.status_code != 401 or operation.label == "POST /login", case.as_curl_command()
        assert response.status_code < 500, f"{case.as_curl_command()}: {response.text}"
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"], case.as_curl_command()

    attempt()
