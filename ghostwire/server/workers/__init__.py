"""Several processes behind one port: a leader that decides, workers that have the connections, and who keeps them up.

`link` and `messages` are what leader and workers say to each other, `stations` the leader's end, `remote` a worker's;
`relay` carries HTTP from a worker's port to the leader, `supervisor` starts all of them and starts them again.
"""
