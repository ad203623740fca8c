"""Several processes behind one port: a leader that decides, workers that have the connections, and who keeps them up.

`link` and `messages` are what leader and workers say to each other, `end` puts that on an event loop. `stations` and
`station` are the leader's side, `remote` and `replication` a worker's, `worker` all of it. `relay` carries HTTP from a
worker's port to the leader. `supervisor` forks what `processes` runs; `takeover` is how a new server gets its place.
"""
