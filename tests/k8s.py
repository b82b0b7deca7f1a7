"""Holds Kubernetes manifests against the published schemas, and against what no schema knows: that the
ports, labels and probes of one file fit together, and that nothing asks for a privilege.

    k8s.py FILE DIR

Prints for each container the period of its pod and its environment. Files that a ConfigMap brings are
written to DIR, and the environment names them there:

    container NAME PERIOD
    env NAME=VALUE
"""

import os
import sys

import kubernetes_validate
import yaml

# The oldest that is still looked after, and the newest that has been published.
VERSIONS = ["1.34", kubernetes_validate.latest_version()]


def schema_faults(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(step) for step in error.path)
            yield f"Kubernetes {version}: {path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def templates(documents):
    return [d["spec"]["template"] for d in documents if d["kind"] in ("Deployment", "StatefulSet", "Job")]


def variables(container):
    return {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}


def privileges(pod, container):
    whole = pod.get("securityContext", {}) | container.get("securityContext", {})
    wanted = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for key, value in wanted.items():
        if whole.get(key) != value:
            yield f"{container['name']}: {key} is {whole.get(key)}, not {value}"
    if not whole.get("runAsUser"):
        yield f"{container['name']}: no runAsUser: the kubelet cannot tell whether it is root"


def ports(container):
    """What graceinit listens on and drains are ports of the container, and its probe asks there."""
    named = {p.get("name"): p["containerPort"] for p in container.get("ports", [])}
    env = variables(container)
    for port in filter(None, env.get("GRACEINIT_DRAIN", "").split(",")):
        if int(port) not in named.values():
            yield f"{container['name']}: {port} is drained and is no port of the container"
    listen = int(env.get("GRACEINIT_LISTEN", "x:0").rsplit(":", 1)[1])
    probe = container.get("readinessProbe", {}).get("httpGet")
    if (probe is not None) != (listen != 0):
        yield f"{container['name']}: graceinit listens on {listen}, the readiness probe is {probe}"
    if probe is not None and named.get(probe["port"], probe["port"]) != listen:
        yield f"{container['name']}: the probe asks {probe['port']}, graceinit listens on {listen}"


def scrapes(template):
    """What Prometheus is told to scrape is what graceinit listens on."""
    notes = template["metadata"].get("annotations", {})
    port = notes.get("prometheus.io/port") if notes.get("prometheus.io/scrape") == "true" else None
    listen = [variables(c).get("GRACEINIT_LISTEN", "").rsplit(":", 1)[-1] for c in template["spec"]["containers"]]
    if port is not None and port not in listen:
        yield f"{port} is scraped, graceinit listens on {listen}"


def account(container):
    """Where kubelets look for the last words of a container."""
    path = container.get("terminationMessagePath", "/dev/termination-log")
    report = variables(container).get("GRACEINIT_REPORT")
    if report not in (None, path):
        yield f"{container['name']}: the report goes to {report}, the kubelet looks at {path}"
    if report and container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        yield f"{container['name']}: a mistake in the settings comes before any report, and is in the log"


def selectors(documents):
    labels = [t["metadata"]["labels"] for t in templates(documents)]
    for document in (d for d in documents if "selector" in d.get("spec", {})):
        selector = document["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        if not selector or not any(selector.items() <= some.items() for some in labels):
            yield f"{document['kind']} {document['metadata']['name']} selects no pod of this file"
    containers = [c for t in templates(documents) for c in t["spec"]["containers"]]
    names = {port["name"] for c in containers for port in c.get("ports", [])}
    for service in (d for d in documents if d["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in names:
                yield f"Service {service['metadata']['name']}: no port {port['targetPort']}"


def exit_codes(documents):
    """What the API server demands of rules about exit codes, and no schema knows (kubernetes.io, "Jobs: Pod failure
    policy", "Pod Lifecycle: Individual container restart policy and rules")."""
    for job in (d for d in documents if "podFailurePolicy" in d.get("spec", {})):
        pod = job["spec"]["template"]["spec"]
        if pod.get("restartPolicy") != "Never":
            yield "a podFailurePolicy needs a pod with restartPolicy: Never"
        names = {container["name"] for container in pod["containers"]}
        for rule in job["spec"]["podFailurePolicy"]["rules"]:
            if rule["action"] not in ("FailJob", "FailIndex", "Ignore", "Count"):
                yield f"podFailurePolicy: {rule['action']} is no action"
            named = rule.get("onExitCodes", {}).get("containerName")
            if named not in names | {None}:
                yield f"podFailurePolicy: there is no container {named}"
    for container in (c for t in templates(documents) for c in t["spec"]["containers"]):
        rules = container.get("restartPolicyRules", [])
        if rules and "restartPolicy" not in container:
            yield f"{container['name']}: restartPolicyRules need a restartPolicy of the container"
        # graceinit's own codes, and the one that it was told.
        env = variables(container)
        told = {int(env[name]) for name in ("GRACEINIT_GRACE_EXIT", "GRACEINIT_OOM_EXIT") if name in env}
        policies = [d["spec"].get("podFailurePolicy", {}).get("rules", []) for d in documents if "spec" in d]
        codes = [r["exitCodes"] for r in rules] + [r["onExitCodes"] for p in policies for r in p if "onExitCodes" in r]
        for code in {value for code in codes for value in code["values"]} - {124, 125, 126, 127, 137} - told:
            yield f"{container['name']}: {code} is not a code of graceinit"


def faults(documents):
    for document in documents:
        yield from schema_faults(document)


def misfits(documents):
    yield from selectors(documents)
    yield from exit_codes(documents)
    for template in templates(documents):
        yield from scrapes(template)
    for pod in (t["spec"] for t in templates(documents)):
        for container in pod["containers"]:
            yield from privileges(pod, container)
            yield from ports(container)
            yield from account(container)
            if "preStop" in container.get("lifecycle", {}):
                yield f"{container['name']}: a preStop takes its time from the grace"


def write_files(documents, pod, container, directory):
    """Where the container's paths lie on this machine: pairs of a mount and a directory."""
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    sources = {v["name"]: v["configMap"]["name"] for v in pod.get("volumes", []) if "configMap" in v}
    for mount in container.get("volumeMounts", []):
        if mount["name"] in sources:
            for name, content in maps[sources[mount["name"]]].items():
                with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                    file.write(content)
            yield mount["mountPath"], directory


def main(path, directory):
    with open(path, encoding="utf-8") as file:
        documents = [d for d in yaml.safe_load_all(file) if d]
    found = list(faults(documents)) or list(misfits(documents))
    for fault in found:
        print(fault, file=sys.stderr)
    for pod in (t["spec"] for t in templates(documents)):
        for container in pod["containers"]:
            print("container", container["name"], pod["terminationGracePeriodSeconds"])
            places = list(write_files(documents, pod, container, directory))
            for name, value in variables(container).items():
                for there, here in places:
                    value = value.replace(there, here)
                print(f"env {name}={value}")
    return 1 if found or not documents else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
