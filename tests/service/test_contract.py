"""Requests made from the OpenAPI document, as a stranger's client might send them: never an error of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.engine import Models
from service.settings import Settings
from service.store import Store


@pytest.fixture(scope="module")
def service(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The service over a store with two submissions, one case and one topic's worth of texts."""
    folder = tmp_path_factory.mktemp("contract")
    chosen = Settings(database_url=f"sqlite:///{folder / 'contract.db'}", max_chars=200, max_items=4)
    store = Store(chosen.database_url, chosen.office_id)
    client = TestClient(create_app(chosen, models, store), base_url="http://127.0.0.1", raise_server_exceptions=False)
    with client:
        items = [{"external_id": str(n), "text": "小区门口的路灯坏了半个月没人修"} for n in range(3)]
        client.post("/v1/submissions", json={"items": items}).raise_for_status()
        case = {"lead": 1, "members": [1, 2], "actor": "王芳", "reason": "同一盏灯"}
        client.post("/v1/cases", json=case).raise_for_status()
        yield client
    store.close()


def test_no_request_makes_the_service_fail(service: TestClient) -> None:
    schema = schemathesis.openapi.from_dict(service.get("/openapi.json").json())
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 40
    tried: set[str] = set()

    for operation in operations:
        # Numbers that exist are tried as well as those that are made up.
        cases = operation.as_strategy()

        @settings(
            max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=cases, near=st.booleans())
        def attempt(case: schemathesis.Case, near: bool) -> None:
            if near and "number" in (case.path_parameters or {}):
                case.path_parameters["number"] = 1
            response = case.call(session=service, base_url="http://127.0.0.1")
            assert response.status_code < 500, f"{case.as_curl_command()}: {response.text}"
            if response.status_code >= 400:
                assert response.headers["content-type"].startswith(("application/problem+json", "text/plain"))

        attempt()
        tried.add(operation.label)
    assert len(tried) == len(operations)
