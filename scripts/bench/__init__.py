"""The benchmark: monocore and its peers doing the same work, in turns, in one run.

Machines differ and are noisy, so every claim is a ratio of medians that were measured side by side. Run it with
``make bench``; ``ARGS='--quick'`` takes smaller images, ``ARGS='--only pull,boot'`` a part, ``ARGS='--json out.json'`` keeps every sample.
"""
