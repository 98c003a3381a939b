"""`distflow lint-k8s`: what a schema cannot say about the manifests of a distflow job.

A schema accepts a Job named UPPER, a mount without a volume, and a restartPolicy that the API
server or the operator refuses, or that trains wrongly. Here each such fact is a rule with a name.
"""
