"""`ghostwire ping`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ghostwire.cli.options import data_option, json_option
from ghostwire.cli.outcome import Exit


@click.command(
    "ping", epilog="\b\nExamples:\n  ghostwire ping web\n  ghostwire ping 100.64.0.2 -c 3\n  ghostwire ping web --json"
)
@click.argument("peer")
@data_option("agent")
@click.option("-c", "--count", type=click.IntRange(1), default=5, show_default=True, help="How many times.")
@click.option("-W", "--timeout", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="Seconds each.")
@click.option("-i", "--interval", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds between.")
@json_option
def command(peer: str, data: Path, count: int, timeout: float, interval: float, as_json: bool) -> int:
    """Measure the way to a peer (its name or address) through the tunnel, in every mode.

    Exit code 0 when at least one answer came, 1 when none did.
    """
    from ghostwire.agent.io.asking import ask
    from ghostwire.cli import screen

    answers: list[dict[str, Any]] = []
    for number in range(count):
        if number:
            time.sleep(interval)
        answer = ask(data, "ping", timeout + 10, peer=peer, timeout_s=timeout)
        answers.append(answer)
        if not as_json:
            rtt = answer["rtt_ms"]
            outcome = screen.bad(f"no answer within {timeout:g} s") if rtt is None else f"{rtt:.2f} ms"
            click.echo(f"{answer['peer']} ({answer['address']}): {outcome}")
    rtts = [answer["rtt_ms"] for answer in answers if answer["rtt_ms"] is not None]
    if as_json:
        first = answers[0]
        value = {
            "peer": first["peer"],
            "address": first["address"],
            "sent": count,
            "received": len(rtts),
            "rtt_ms": rtts,
        }
        screen.show(value, True, str)
    elif len(answers) > 1:
        spread = (
            f", {min(rtts):.2f} / {sum(rtts) / len(rtts):.2f} / {max(rtts):.2f} ms min / mean / max" if rtts else ""
        )
        click.echo(f"{len(rtts)} of {count} answered{spread}")
    return Exit.DONE if rtts else Exit.FAILED
