"""Sandboxes that are kept: records, commands with logs, and machines that outlive the program that started them.

One process has a home's runtime at a time (the daemon, or a program that embeds it). Data flows down::

    SandboxOrder ──▶ Sandboxes.create ──▶ record (state database)
                     Sandboxes.start  ──▶ Life: machine ▸ command ▸ log ▸ end      one task each, in life.py
                         after our death:  record + machine + agent ──▶ Life again

* :mod:`.sandboxes`: the face: create, start, stop, remove, exec, attach, adopt.
* :mod:`.lives`: the runs under way, and what is found of them after a death.
* :mod:`.life`: one run of one sandbox, from its machine to its end.
* :mod:`.output`: from the agent to the log and to those who are attached, every byte once.
* :mod:`.engines`: an engine for each set of settings that is asked for.
* :mod:`.capturing`: a sandbox that runs, as it is at one moment; :mod:`.forking` makes copies of that, :mod:`.checkpoints` keeps it on disk,
  and :mod:`.committing` makes images of what sandboxes wrote.
* :mod:`.happenings`: what happened, numbered, for those who follow.

The state database is written before the world is changed and after; :meth:`.sandboxes.Sandboxes.open` compares the two.
"""
