from flask.testing import FlaskClient


def test_a_city_that_is_up_says_so(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "alive"}
    assert client.get("/readyz").json == {"status": "ready"}


def test_a_machine_gets_a_problem_document(client: FlaskClient) -> None:
    answer = client.get("/api/nothing-here?lang=en")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "not-found"
