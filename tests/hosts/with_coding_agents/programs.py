"""The real programs, each in a home of its own, with a model on loopback and a wired hook."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepguard.doctor.codex_server import codex_server
from stepguard.doctor.scripted_model import ScriptedModel, Turn, scripted_model

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ROOT / "build" / "hosts" / "coding-agents" / "node_modules" / ".bin"
LIMIT_S = 60
EVENTS = ("PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit", "SessionEnd")
# What the examples call the hook and the guard's socket.
HOOK, SOCKET = "/opt/stepguard/bin/stepguard-hook", "/run/stepguard/guard.sock"


@dataclass(frozen=True)
class Run:
    """What became of a script: the files that its commands left, and what the model was told."""

    files: frozenset[str]
    asked: list[dict[str, Any]]
    said: str
    """Standard output and standard error."""

    @property
    def told(self) -> str:
        """All that the model has seen at the end."""
        last = self.asked[-1]
        return json.dumps(last.get("messages", last.get("input")))


@dataclass
class CodingAgent:
    """A home and a work folder below `folder`. `words` are added to every `stepguard-hook`."""

    host: str
    folder: Path
    hook: Path
    words: str = ""
    events: tuple[str, ...] = EVENTS
    """Those of the example that are wired."""
    edits: list[tuple[str, str]] = field(default_factory=list)
    """Changes of its text."""
    edited_after: tuple[str, str] | None = None
    """One that comes after the hooks were trusted."""
    trusted: bool = True
    prefix: list[str] = field(default_factory=list)
    """What the program is started with."""
    arguments: list[str] = field(default_factory=list)
    """Its further arguments."""
    on_turn: Callable[[int], None] = lambda number: None
    """Called with the number of every turn that the program asks for."""

    @property
    def work(self) -> Path:
        """Where the commands run."""
        return self.folder / "work"

    @property
    def socket(self) -> Path:
        """Where the wired hook looks for the guard."""
        return self.folder / "run" / "guard.sock"

    def run(self, turns: Sequence[Turn]) -> Run:
        """Lets the program follow a script to its end."""
        with self.running(turns) as (model, process):
            said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said
        assert len(model.asked) == len(turns) + 1, said
        files = frozenset(path.name for path in self.work.iterdir())
        return Run(files, model.asked, said)

    @contextmanager
    def running(self, turns: Sequence[Turn]) -> Iterator[tuple[ScriptedModel, Any]]:
        """The program and its model, while it follows a script."""
        with scripted_model(turns, self.on_turn) as model:
            environment = self.wire(model)
            process = subprocess.Popen(
                [*self.prefix, *self._command(), *self.arguments],
                cwd=self.work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                yield model, process
            finally:
                # What npm installs is a wrapper, which leaves the program behind when it is killed.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    @property
    def home(self) -> Path:
        """The program's own folder."""
        return self.folder / "home" / self.host

    def wire(self, model: ScriptedModel | None = None) -> dict[str, str]:
        """Writes the settings, and gives the variables that the program runs with: none of ours.
        Every host other than its model is asked of that too, which has none."""
        for folder in (self.work, self.home, self.socket.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.socket.parent.chmod(0o700)
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        found = {"PATH": path, "HOME": str(self.folder / "home")}
        if model is not None:
            proxies = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
            found |= {**dict.fromkeys(proxies, model.url), "NO_PROXY": "127.0.0.1"}
        if self.host == "codex":
            found |= {"CODEX_HOME": str(self.home)}
            self._wire_codex(model, found)
            return found
        found |= {"CLAUDE_CONFIG_DIR": str(self.home)}
        found |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
        if model is not None:
            found |= {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none"}
        text = self.example("claude-code/settings.json")
        (self.home / "settings.json").write_text(text, encoding="utf-8")
        return found

    def _wire_codex(self, model: ScriptedModel | None, environment: dict[str, str]) -> None:
        text = ""
        if model is not None:
            text += 'model = "scripted"\nmodel_provider = "scripted"\n'
            text += f'[model_providers.scripted]\nname = "scripted"\nbase_url = "{model.url}/v1"\n'
            text += 'wire_api = "responses"\n\n'
        config = self.home / "config.toml"
        config.write_text(text + self.example("codex/config.toml"), encoding="utf-8")
        if self.trusted:
            trust_hooks(str(PROGRAMS / "codex"), self.work, environment)
        if self.edited_after is not None:
            text = config.read_text(encoding="utf-8")
            assert self.edited_after[0] in text
            config.write_text(text.replace(*self.edited_after), encoding="utf-8")

    def _command(self) -> list[str]:
        if self.host == "claude-code":
            return [str(PROGRAMS / "claude"), "-p", "go", "--allowedTools", "Bash"]
        words = ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "go"]
        return [str(PROGRAMS / "codex"), *words]

    def example(self, name: str) -> str:
        """An example as it is wired here: with the paths of this test, `words` and `edits`."""
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        if name.endswith(".json"):
            hooks = json.loads(text)["hooks"]
            text = json.dumps({"hooks": {key: hooks[key] for key in hooks if key in self.events}})
        else:
            parts = text.split("\n\n")
            starts = ("# ", *(f"[[hooks.{event}]]\n" for event in self.events))
            text = "\n\n".join(part for part in parts if part.startswith(starts))
        assert HOOK in text or not self.events
        text = text.replace(HOOK, str(self.hook)).replace(SOCKET, str(self.socket))
        for end in ("--timeout-ms 5000", "--timeout-ms 1000"):
            text = text.replace(end, f"{end} {self.words}".rstrip())
        for edit in self.edits:
            text = text.replace(*edit)
        return text


def trust_hooks(program: str, folder: Path, environment: dict[str, str]) -> None:
    """What a user does with /hooks: Codex names the hash of every hook, and is told to trust it."""
    with codex_server([program], folder, environment) as server:
        state = {
            hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in server.hooks(folder)
        }
        edit = {"keyPath": "hooks.state", "value": state, "mergeStrategy": "upsert"}
        server.call("config/batchWrite", {"edits": [edit]})
        assert all(hook["trustStatus"] == "trusted" for hook in server.hooks(folder))


def require(host: str) -> None:
    """Skips a test where the program is not installed."""
    name = "claude" if host == "claude-code" else "codex"
    if not (PROGRAMS / name).exists():
        pytest.skip(f"{name} is not installed: `make test-hosts` does it")
