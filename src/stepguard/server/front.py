"""What every request passes before anything of it is read."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepguard.server.body import too_large
from stepguard.server.faults import Fault
from stepguard.server.shared import HOOKS, Shared

# Asked by whoever watches the server, also while it ends.
_ALWAYS = ("/health", "/metrics")
_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Front:
    """Turns away browsers, foreign names, wrong tokens, giants, and who comes too late."""

    def __init__(self, app: ASGIApp, shared: Shared) -> None:
        self._app, self._shared = app, shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._shared.metrics.answered(message["status"])
            await send(message)

        try:
            self._require(scope, Headers(scope=scope))
        except Fault as fault:
            await fault.response()(scope, receive, counted)
            return
        await self._app(scope, receive, counted)

    def _require(self, scope: Scope, headers: Headers) -> None:
        """Raises Fault."""
        if "origin" in headers:
            # Programs do not send it, pages do: nothing here is for pages.
            raise Fault(403, "Forbidden", "Origin", expected="none", got="one", ends=True)
        token = self._shared.settings.token
        if token is not None:
            _require_host(scope, headers)
            _require_token(headers, token)
        settings, length = self._shared.settings, headers.get("content-length", "0")
        hook = scope["path"].startswith(f"{HOOKS}/")
        most = max(settings.hook_bytes, settings.body_bytes) if hook else settings.body_bytes
        if not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) > most:
            raise too_large(most)
        if scope["path"] not in _ALWAYS:
            self._shared.work.refuse_late()


def _require_host(scope: Scope, headers: Headers) -> None:
    """A name that a page had resolved to this machine is not one of ours."""
    port = scope["server"][1]
    names = {f"{name}:{port}" for name in _NAMES}
    if headers.getlist("host") not in [[name] for name in names]:
        expected = ", ".join(sorted(names))
        raise Fault(421, "WrongHost", "Host", expected=expected, got="another", ends=True)


def _require_token(headers: Headers, token: str) -> None:
    kind, _, given = headers.get("authorization", "").partition(" ")
    # Compared in constant time, and as bytes: strings must be ASCII for that.
    right = hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
    if kind.lower() != "bearer" or not right:
        hint = "Send the token of --token-file."
        expected = "Bearer TOKEN"
        raise Fault(401, "Unauthorized", "Authorization", expected=expected, hint=hint, ends=True)
