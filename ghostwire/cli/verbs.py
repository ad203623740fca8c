"""Every verb: its module, whose `command` is the click command, and its line in the help."""

from __future__ import annotations

from typing import Final

VERBS: Final[dict[str, tuple[str, str]]] = {
    "serve": ("ghostwire.cli.serve", "Run the coordinator."),
    "up": ("ghostwire.cli.up", "Join the mesh and keep this machine in it."),
    "down": ("ghostwire.cli.down", "Stop the agent of this machine."),
    "logout": ("ghostwire.cli.logout", "Remove this machine from the mesh."),
    "status": ("ghostwire.cli.status", "Show this machine, its peers and how they are reached."),
    "ping": ("ghostwire.cli.ping", "Measure the way to a peer."),
    "netcheck": ("ghostwire.cli.netcheck", "Check what this network lets through."),
    "logs": ("ghostwire.cli.logs", "Show the agent's log."),
    "node": ("ghostwire.cli.node", "List, show and change nodes."),
    "flows": ("ghostwire.cli.flows", "Show what nodes exchanged, and with whom."),
    "user": ("ghostwire.cli.user", "List, create and delete users."),
    "key": ("ghostwire.cli.key", "Make and revoke pre-auth keys."),
    "token": ("ghostwire.cli.token", "Make and revoke tokens for remote administration."),
    "policy": ("ghostwire.cli.policy", "Show, check, compare and apply the access policy."),
    "access": ("ghostwire.cli.access", "Ask for access that ends by itself, and approve it."),
    "db": ("ghostwire.cli.db", "Back up, restore and check the coordinator's store."),
    "audit": ("ghostwire.cli.audit", "Check that the history was not tampered with."),
    "server": ("ghostwire.cli.server", "Show how the coordinator does."),
    "config": ("ghostwire.cli.config", "Show the configuration and where it comes from."),
    "doctor": ("ghostwire.cli.doctor", "Check this installation and say what to do."),
    "service": ("ghostwire.cli.service", "Install systemd units."),
    "demo": ("ghostwire.cli.demo", "Run a coordinator and three nodes on this machine."),
    "simulate": ("ghostwire.cli.simulate", "Rehearse a network of thousands of nodes on this machine."),
    "completion": ("ghostwire.cli.completion", "Print a completion script for a shell."),
}
