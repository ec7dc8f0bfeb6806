"""Sessions over HTTP say what sessions of the library say."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepguard import Guard, Step
from stepguard.server import Settings
from stepguard.server.run import Server
from tests.front.fakes import make_guard
from tests.server.client import ACTION, USER, Answer, Client, events
from tests.server.serving import Gate, on_thread


def test_the_verdicts_are_those_of_the_library(model: Path, tmp_path: Path) -> None:
    action = Step.from_dict(ACTION)
    with Guard.load(model, threads=1, save_prefix=False) as guard:
        with guard.session("an agent") as session:
            session.observe(Step.from_dict(USER))
            first = session.check(action)
            session.reject(first, "No.")
            second = session.push(action)
            diagnosis = session.diagnose()
        pages = guard.stats()["pages_used"]
        with on_thread(guard, tmp_path) as (client, _):
            path = client.open(profile="an agent")
            assert client.post(f"{path}/observe", {"step": USER}).json == {}
            checked = client.post(f"{path}/check", {"step": ACTION}).json
            rejected = client.post(f"{path}/reject", {"id": checked["id"], "note": "No."})
            assert rejected.json == {}
            pushed = client.post(f"{path}/push", {"step": ACTION}).json
            diagnosed = client.post(f"{path}/diagnose").json["diagnosis"]
            assert client.send("DELETE", path).status == 200
            assert client.post(f"{path}/judge").status == 404
        assert guard.stats()["pages_used"] == pages
    for ours, served in ((first, checked), (second, pushed)):
        assert served["verdict"]["margin"] == ours.margin
        assert served["verdict"]["status"] == ours.status.value
        assert served["verdict"]["guard"]["model"] == ours.guard.model
    assert diagnosed["risk_source"] == dict(diagnosis.risk_source)


def test_commit_takes_a_check_over_once(client: Client) -> None:
    path = client.open()
    one = client.post(f"{path}/check", {"step": ACTION}).json["id"]
    assert client.post(f"{path}/commit", {"id": one}).status == 200
    again = client.post(f"{path}/commit", {"id": one})
    assert (again.status, again.error["type"]) == (409, "VerdictError")
    unknown = client.post(f"{path}/commit", {"id": 99})
    assert (unknown.status, unknown.error["where"]) == (409, "id")
    assert client.post(f"{path}/reject", {"id": one}).status == 200  # taken back


def test_a_turn_has_a_verdict_per_call(client: Client) -> None:
    path = client.open()
    body = {"thought": "both", "actions": ["read(a)", {"name": "send", "arguments": {"to": "b"}}]}
    turn = client.post(f"{path}/turn", body).json
    assert len(turn["calls"]) == 2
    assert client.post(f"{path}/commit", {"id": turn["id"]}).status == 200


@pytest.mark.parametrize(
    ("call", "body", "where"),
    [
        ("push", {}, "body.step"),
        ("push", {"step": {"role": "nobody"}}, "step.role"),
        ("push", {"step": ACTION, "more": 1}, "body"),
        ("push", {"step": ACTION, "deadline_ms": -1}, "body.deadline_ms"),
        ("push", {"step": ACTION, "deadline_ms": 1e9}, "body.deadline_ms"),
        ("turn", {"actions": []}, "body.actions"),
        ("commit", {"id": "1"}, "body.id"),
        ("diagnose", {"top": 0}, "body.top"),
    ],
)
def test_mistakes_are_named_with_their_place(
    client: Client, call: str, body: object, where: str
) -> None:
    path = client.open()
    answer = client.post(f"{path}/{call}", body)
    assert (answer.status, answer.error["where"]) == (400, where)
    assert client.post(f"{path}/push", {"step": ACTION}).status == 200  # and nothing is broken


def test_a_guard_without_labels_says_so(client: Client) -> None:
    answer = client.post(f"{client.open()}/diagnose")
    assert (answer.status, answer.error["type"]) == (409, "TaxonomyError")


def test_events_come_in_order_and_again_after_a_break(client: Client) -> None:
    path = client.open()
    pushed = [client.post(f"{path}/push", {"step": ACTION}).json for _ in range(3)]
    connection, response = client.stream(f"{path}/events")
    stream = events(response)
    assert [next(stream) for _ in range(3)] == [(one["id"], "verdict", one) for one in pushed]
    connection.close()
    pushed.append(client.post(f"{path}/push", {"step": ACTION}).json)
    connection, response = client.stream(f"{path}/events", Last_Event_ID="2")
    stream = events(response)
    assert [next(stream)[2] for _ in range(2)] == pushed[2:]
    client.send("DELETE", path)
    assert list(stream) == [(None, "closed", {})]
    connection.close()


def test_an_event_that_is_still_to_come_is_no_place_to_go_on_from(client: Client) -> None:
    """Waiting there would skip what comes first, in silence."""
    path = client.open()
    client.post(f"{path}/push", {"step": ACTION})
    for number in ("2", "999"):
        answer = client.send("GET", f"{path}/events", Last_Event_ID=number)
        assert (answer.status, answer.error["type"]) == (400, "Malformed")
        assert "at most 1" in str(answer.error)


def test_a_reader_that_lags_too_far_is_told_what_it_lost(engine: Gate, tmp_path: Path) -> None:
    with make_guard(engine) as guard, on_thread(guard, tmp_path, Settings(events=2)) as (client, _):
        path = client.open()
        for _ in range(5):
            client.post(f"{path}/push", {"step": ACTION})
        connection, response = client.stream(f"{path}/events", Last_Event_ID="1")
        assert list(events(response)) == [(None, "lost", {"first": 2, "last": 3})]
        connection.close()


def wait_for(what: object, server: Server) -> None:
    """Until the server has so many sessions."""
    until = time.monotonic() + 10
    while len(server.app.shared.talks) != what:
        assert time.monotonic() < until, len(server.app.shared.talks)
        time.sleep(0.01)


def test_a_session_of_a_stream_ends_with_its_client(served: tuple[Client, Server]) -> None:
    client, server = served
    connection, response = client.stream("/v1/sessions", "POST", {"profile": "an agent"})
    number, kind, data = next(stream := events(response))
    assert (number, kind) == (0, "opened")
    pushed = client.post(f"/v1/sessions/{data['session']}/push", {"step": ACTION}).json
    assert next(stream)[2] == pushed
    wait_for(1, server)
    response.close()
    connection.close()  # as when its client is killed
    wait_for(0, server)


def test_an_idle_session_is_closed(engine: Gate, tmp_path: Path) -> None:
    with (
        make_guard(engine) as guard,
        on_thread(guard, tmp_path, Settings(idle_s=0.2)) as (client, server),
    ):
        path = client.open()
        assert client.post(f"{path}/push", {"step": ACTION}).status == 200
        connection, response = client.stream(f"{path}/events")  # which keeps nothing open
        assert [kind for _, kind, _ in events(response)] == ["verdict", "closed"]
        connection.close()
        wait_for(0, server)
        gone = client.post(f"{path}/push", {"step": ACTION})
        assert (gone.status, gone.error["type"]) == (404, "NoSuchSession")


def test_too_many_sessions(engine: Gate, tmp_path: Path) -> None:
    with (
        make_guard(engine) as guard,
        on_thread(guard, tmp_path, Settings(sessions=2)) as (client, _),
    ):
        client.open()
        client.send("DELETE", client.open())
        client.open()
        answer = client.post("/v1/sessions")
        assert (answer.status, answer.error["type"]) == (429, "TooManySessions")
        assert int(answer.headers["retry-after"]) >= 1


def test_more_calls_than_the_queue_holds_are_told_to_come_back(
    engine: Gate, tmp_path: Path
) -> None:
    with (
        make_guard(engine) as guard,
        on_thread(guard, tmp_path, Settings(queue=2)) as (client, server),
    ):
        paths = [client.open() for _ in range(3)]
        engine.gate.clear()
        answers = []
        body = {"step": ACTION, "deadline_ms": 20_000}
        threads = [
            threading.Thread(target=lambda p=p: answers.append(client.post(f"{p}/push", body)))
            for p in paths[:2]
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while server.app.shared.work.running < 2 and time.monotonic() < until:
            time.sleep(0.01)
        refused = client.post(f"{paths[2]}/push", body)
        assert (refused.status, refused.error["type"]) == (429, "Overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.send("GET", "/health").status == 200  # the loop is free
        engine.gate.set()
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200, 200]
        assert client.post(f"{paths[2]}/push", body).status == 200


def test_a_deadline_is_kept_and_loses_nothing(engine: Gate, client: Client) -> None:
    path, other = client.open(), client.open()
    engine.gate.clear()
    started = time.monotonic()
    late = client.post(f"{path}/push", {"step": USER, "deadline_ms": 50}).json["verdict"]
    assert (late["status"], late["reason"]) == ("unavailable", "deadline")
    assert time.monotonic() - started < 5
    engine.gate.set()
    margin = client.post(f"{path}/push", {"step": ACTION}).json["verdict"]["margin"]
    client.post(f"{other}/push", {"step": USER})
    assert client.post(f"{other}/push", {"step": ACTION}).json["verdict"]["margin"] == margin


def test_who_closes_a_busy_session_waits_for_nothing(
    served: tuple[Client, Server], engine: Gate
) -> None:
    client, server = served
    assert server._loop is not None
    server._loop.set_default_executor(ThreadPoolExecutor(1))  # one that waits holds all of it
    path = client.open()
    (talk,) = server.app.shared.talks._open.values()
    answers: list[Answer] = []
    body = {"step": ACTION, "deadline_ms": 20_000}
    engine.gate.clear()
    thread = threading.Thread(target=lambda: answers.append(client.post(f"{path}/check", body)))
    thread.start()
    until = time.monotonic() + 10
    while not talk.running and time.monotonic() < until:
        time.sleep(0.01)
    client.timeout = 5
    assert client.send("DELETE", path).status == 200
    assert client.post(f"{path}/judge").status == 404
    assert client.post("/v1/sessions", {"profile": "x" * 50_000}).status == 201  # on a thread
    assert not answers
    assert not talk.session._closed
    engine.gate.set()
    thread.join()
    assert answers[0].status == 200
    assert talk.session._closed
