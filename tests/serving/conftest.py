"""Fixtures: a folder for a gateway, whose processes end with the test."""

import pytest

from tests.serving.stack import Stack


@pytest.fixture
def make_stack(tmp_path):
    """Makes stacks: ``make_stack(TRIMTAB_MAX_ROWS="10")``."""
    stacks = []

    def make(home=None, **extra):
        home = home or tmp_path / f"home-{len(stacks)}"
        home.mkdir(exist_ok=True)
        stacks.append(Stack(home, extra))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.stop()


@pytest.fixture
def stack(make_stack):
    """A gateway in service, no route yet."""
    made = make_stack()
    made.start_gateway()
    return made


@pytest.fixture
def served(stack):
    """A stack whose gateway serves model loan, version 1."""
    stack.serve_loan()
    return stack
