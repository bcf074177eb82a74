"""Services: a project's sandboxes started in order, watched, started again, and stopped in the reverse order.

Everything that is decided is decided by pure code, and what acts is short::

    Project ─▶ graph        who waits for whom; what a choice of services brings along
            ─▶ converge     what there is beside what shall be: keep, start, replace, create, remove
    an end  ─▶ restarting   again, and after how long; or left as it is
    a probe ─▶ health       starting, healthy, unhealthy

* :mod:`.orchestrator`: the face: up, down, restart, remove, status.
* :mod:`.rise`, :mod:`.fall`: one ``up`` and one ``down``, service by service.
* :mod:`.supervisor`: one task for each instance, from its start to the end that is left as it is.
* :mod:`.probing`, :mod:`.secrets`: what is asked of a guest, and what is given to it.
* :mod:`.ledger`: what has to outlive this process and is not in the sandboxes' records: projects, intents, counts of restarts.

An intent (``up`` of these, ``down`` of those) is written down before the first sandbox is touched and crossed out when it is
done, has failed or was given up. A process that finds one was preceded by one that died in the middle, and completes it.
"""
