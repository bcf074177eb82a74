"""Published ports without the uplink's help: sockets on the host, and connections from them into our namespace.

```
 host                                            │ namespace of the sandboxes
                                                 │
 client ──▶ 0.0.0.0:8080   bound by the binder ══╪══▶ held by the relay ──▶ guest:80, from the gateway's address
```

A socket belongs to the network namespace in which it was made, whoever holds it. So a small process that stays on the host (*binder*) binds
what the keeper asks for and hands the descriptor over, and another one in the sandboxes' namespace (*relay*) takes connections and datagrams from
it and passes them on. An ordinary user can have both, on every address of the host, IPv4 and IPv6, its loopback too. Both end with the keeper.
"""
