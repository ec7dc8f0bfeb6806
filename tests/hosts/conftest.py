"""Failures inside what all hosts share are explained too."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.hosts.properties", "tests.hosts.running")
