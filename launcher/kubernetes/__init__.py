"""Jobs on Kubernetes: what is rendered, checked, sent to a cluster and watched there.

    spec       what is asked for            code       the user's files, in a ConfigMap
    pods       the pod of a worker          network    how pods meet, and who else may reach them
    job, jobset, trainjob, mpijob           one file per kind of object that runs pods
    addons     TLS, Kueue, Volcano, metrics, a volume
    render     a spec -> a list of objects  lint/      what a schema cannot say about them
    cluster    the API server               operate    submit, status, logs, scale, cancel, wait

Only `cluster` needs the official client (extra k8s); objects are plain dicts everywhere.
"""
