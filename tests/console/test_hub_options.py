"""The hub's options are numbers that something can be done with."""

from typing import Any

import click
import pytest

from console.hub_options import hub_defaults, hub_limits


@click.command()
@hub_limits
def hub(**limits: Any) -> None:
    """As the verb has them."""


@pytest.mark.parametrize("name", sorted(hub_defaults()))
@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "-1", "many"])
def test_what_is_no_number_is_no_limit(name: str, value: str) -> None:
    with pytest.raises(click.BadParameter):
        hub.make_context("hub", [f"--{name.replace('_', '-')}", value])


def test_numbers_are_taken_as_they_are_said() -> None:
    context = hub.make_context("hub", ["--rate", "0", "--meet-hold", "2.5"])
    assert {name: value for name, value in context.params.items() if value is not None} == {
        "rate": 0.0, "meet_hold": 2.5,
    }  # fmt: skip
