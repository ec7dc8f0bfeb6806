"""/v1/moderations: OpenAI's own client understands it, and nothing that is not safe passes."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from stepguard import Step
from stepguard.server import Settings, tcp_socket
from stepguard.server.run import make_server
from tests.front.fakes import make_guard
from tests.server.client import Client
from tests.server.serving import Gate

TOKEN = "0123456789abcdef0123456789abcdef"


def test_the_client_of_openai(engine: Gate) -> None:
    openai: Any = pytest.importorskip("openai", reason="the package openai is not installed")
    ready = threading.Event()
    with make_guard(engine) as guard, tcp_socket(0) as listener:
        server = make_server(guard, Settings(token=TOKEN), ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(10)
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            client = openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0)
            parts = [{"type": "text", "text": "c"}]
            many = client.moderations.create(input=["a", "b"], model="omni-moderation-latest")
            one = client.moderations.create(input=parts)
            single = client.moderations.create(input="a")
            with pytest.raises(openai.AuthenticationError):
                openai.OpenAI(base_url=url, api_key="x", max_retries=0).moderations.create(
                    input="a"
                )
            with pytest.raises(openai.BadRequestError):
                client.moderations.create(input=[])
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(20)
        with guard.session(diagnose=False) as session:
            verdict = session.push(Step.user("a"))
    assert len(many.results) == 2
    assert len(one.results) == 1
    result = single.results[0]
    assert result.flagged == (not verdict.allowed)
    kinds = type(result.categories).model_fields
    assert [name for name in kinds if getattr(result.categories, name) is not False] == []
    assert result.categories.model_extra["stepguard/unsafe"] == (verdict.status == "unsafe")
    assert result.category_scores.model_extra["stepguard/unsafe"] == verdict.score
    assert result.model_extra["stepguard"]["margin"] == verdict.margin
    assert many.results[0].model_extra["stepguard"]["margin"] == verdict.margin


def test_what_was_not_judged_is_flagged(engine: Gate, client: Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    (result,) = client.post("/v1/moderations", {"input": [image]}).json["results"]
    assert result["flagged"] is True
    engine.nan = True
    (result,) = client.post("/v1/moderations", {"input": "a"}).json["results"]
    assert result["flagged"] is True
    assert result["categories"]["stepguard/unavailable"] is True


@pytest.mark.parametrize("value", [None, 1, {}, [1], ["a", 1], [[1, 2]], ["a"] * 33])
def test_other_inputs_are_refused(client: Client, value: object) -> None:
    answer = client.post("/v1/moderations", {"input": value})
    assert answer.status in (400, 413)
    assert answer.error["where"] == "body.input"
