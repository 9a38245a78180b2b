"""Makes the fixtures of real_squid and of the laboratory known here, and skips what cannot run."""

from pathlib import Path

import pytest
from lab import rules
from real_squid import network, origin, other_origin, policies, start_squid, why_not

__all__ = ["network", "origin", "other_origin", "policies", "rules", "start_squid"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_not()
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))
