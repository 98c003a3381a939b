"""The `distflow` command: starts, watches and ends the workers of a job.

Installed as `distflow_launcher`. It imports `distflow.base` and `distflow.cluster` only; what runs
in workers (`bench_worker`) imports more.
"""
