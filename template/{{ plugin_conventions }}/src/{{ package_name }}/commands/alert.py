"""Send a message to an owner when one of their flow runs fails, crashes or times out.

The command lists deployments without an owner, whose runs alert nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "send a message to an owner when one of their flow runs fails or crashes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("owner", help="team, as in `house_flow(owner=...)`")
    parser.add_argument("block", help="block that sends it, such as slack-webhook/finance")
    parser.add_argument("--cancelled", action="store_true", help="also when a run is cancelled")


def run(arguments: argparse.Namespace) -> None:
    """Create or update the automations."""
    # Imported here, because these imports take seconds.
    from ..common import prefect_api
    from ..conventions import alerts

    owner, block = arguments.owner, arguments.block
    with prefect_api.explained():
        alerts.alert_owner(owner, block, cancelled=arguments.cancelled)
        unowned = alerts.without_owner()
    print(f"When a run with the tag owner:{owner} ends badly, {block} sends a message.")
    if unowned:
        print("Without such a tag, so that nobody is alerted:", *unowned, sep="\n  ")
