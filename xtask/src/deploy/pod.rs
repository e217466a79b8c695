//! A container as the manifests for Kubernetes describe it: the same arguments, user, rights,
//! limits, environment, mounts and probes, on the network of compose.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Deployment, NETWORK, output};

const MANIFESTS: &str = "deploy/kubernetes/base";
const DATABASE: &str = "mysql://platform:platform@mariadb:3306/platform";
/// Where the pod's health is published on this machine.
const PORT: u16 = 9_099;
const NAME: &str = "reelshift-pod";
/// In the order in which Kubernetes gets them done.
const JOBS: [&str; 3] = ["expand.yaml", "enqueue-backfill.yaml", "enqueue-hash.yaml"];
/// What an overlay would set for the network of compose.
const OVERLAY: [(&str, &str); 3] = [
    ("REELSHIFT_ALLOW_PLAINTEXT", "true"),
    ("REELSHIFT_MEDIA_ROOT", "/srv/media/platform/media"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://jaeger:4317"),
];

/// The container of a workload of a manifest.
struct Pod {
    spec: Value,
    container: Value,
}

/// All workloads run: the Jobs, for which nothing is left to do, end by themselves; the others
/// live, and end in their time. The worker does a run.
pub(super) fn scenario(deployment: &Deployment<'_>) -> Result<()> {
    deployment.compose(&["stop", "worker"])?;
    for manifest in JOBS {
        run(deployment, manifest, |pod| pod.ended(deployment))?;
    }
    run(deployment, "server.yaml", |pod| {
        pod.check_probes(deployment)?;
        pod.stop(deployment)
    })?;
    run(deployment, "worker.yaml", |pod| {
        pod.check_probes(deployment)?;
        deployment.reelshift(&["enqueue", "validate"])?;
        deployment.until("the run of the pod", || deployment.runs_are_done())?;
        pod.stop(deployment)
    })?;
    deployment.compose(&["start", "worker"])
}

/// Starts the container of a manifest, and removes it once it was used. It has to have ended well.
fn run(
    deployment: &Deployment<'_>,
    manifest: &str,
    used: impl FnOnce(&Pod) -> Result<()>,
) -> Result<()> {
    eprintln!("xtask: a container as {manifest} has it");
    let pod = Pod::read(&deployment.root.join(MANIFESTS).join(manifest))?;
    let used = pod.start(deployment).and_then(|()| used(&pod));
    if used.is_err()
        && let Err(error) = deployment.engine(&["logs", NAME])
    {
        eprintln!("xtask: there are no logs: {error:#}");
    }
    let removed = deployment.engine(&["rm", "--force", NAME]);
    used.and(removed).with_context(|| format!("a container as {manifest} has it"))
}

impl Pod {
    fn read(path: &Path) -> Result<Self> {
        let documents: Vec<Value> = documents(path)?;
        let workload =
            |document: &&Value| document["kind"] == "Deployment" || document["kind"] == "Job";
        let found = documents.iter().find(workload);
        let found = found.with_context(|| format!("{} has no workload", path.display()))?;
        let spec = found["spec"]["template"]["spec"].clone();
        let container = spec["containers"][0].clone();
        Ok(Self { spec, container })
    }

    fn start(&self, deployment: &Deployment<'_>) -> Result<()> {
        let user = &self.spec["securityContext"];
        let own = &self.container["securityContext"];
        let limit = text(&self.container["resources"]["limits"]["memory"])?;
        // Mi is what an engine calls m.
        let limit = limit.strip_suffix("Mi").context("the memory is not in Mi")?;
        let mut run = Command::new(&deployment.engine.program);
        run.args(["run", "--detach", "--name", NAME, "--network", NETWORK]);
        // Of what must not be left.
        run.args(["--label", "com.docker.compose.project=reelshift"]);
        if let Some(port) = self.container["ports"][0]["containerPort"].as_u64() {
            run.args(["--publish", &format!("127.0.0.1:{PORT}:{port}")]);
        }
        run.args(["--user", &format!("{}:{}", user["runAsUser"], user["runAsGroup"])]);
        run.args(["--memory", &format!("{limit}m")]);
        ensure!(own["readOnlyRootFilesystem"] == true, "its file system can be written");
        ensure!(own["allowPrivilegeEscalation"] == false, "it may gain rights");
        run.args(["--read-only", "--security-opt", "no-new-privileges"]);
        for capability in own["capabilities"]["drop"].as_array().into_iter().flatten() {
            run.args(["--cap-drop", text(capability)?]);
        }
        for (name, value) in self.environment(deployment)? {
            run.args(["--env", &format!("{name}={value}")]);
        }
        for mount in self.container["volumeMounts"].as_array().into_iter().flatten() {
            let (name, path) = (text(&mount["name"])?, text(&mount["mountPath"])?);
            let volume = match name {
                "media" => format!("reelshift_media:{path}:ro"),
                "tokens" => {
                    let tokens = deployment.root.join("deploy/compose/tokens").canonicalize();
                    format!("{}:{path}/tokens:ro", tokens.context("the tokens")?.display())
                }
                _ => anyhow::bail!("nobody knows what the volume {name} is"),
            };
            run.args(["--volume", &volume]);
        }
        run.arg("reelshift");
        for argument in self.container["args"].as_array().context("it has no arguments")? {
            run.arg(text(argument)?);
        }
        output(&mut run).map(drop)
    }

    /// What Kubernetes would make of `envFrom` and `env`.
    fn environment(&self, deployment: &Deployment<'_>) -> Result<BTreeMap<String, String>> {
        let kustomization = deployment.root.join(MANIFESTS).join("kustomization.yaml");
        let kustomization = documents(&kustomization)?;
        let settings = &kustomization[0]["configMapGenerator"][0]["literals"];
        let mut environment = BTreeMap::new();
        for setting in settings.as_array().context("the base has no settings")? {
            let (name, value) = text(setting)?.split_once('=').context("a setting has a value")?;
            environment.insert(name.to_owned(), value.to_owned());
        }
        environment.extend(OVERLAY.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for variable in self.container["env"].as_array().into_iter().flatten() {
            let source = &variable["valueFrom"];
            let value = if let Some(key) = source["secretKeyRef"]["key"].as_str() {
                if key == "session-key" { "5a".repeat(32) } else { DATABASE.to_owned() }
            } else if source["fieldRef"].is_object() {
                NAME.to_owned()
            } else {
                let value = text(&variable["value"])?;
                environment.iter().fold(value.to_owned(), |value, (name, of)| {
                    value.replace(&format!("$({name})"), of)
                })
            };
            environment.insert(text(&variable["name"])?.to_owned(), value);
        }
        Ok(environment)
    }

    /// Each probe succeeds within the time that its manifest gives it, counted in attempts.
    fn check_probes(&self, deployment: &Deployment<'_>) -> Result<()> {
        for name in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let probe = &self.container[name];
            let path = text(&probe["httpGet"]["path"])?;
            let attempts = probe["failureThreshold"].as_u64().unwrap_or(3);
            let period = Duration::from_secs(probe["periodSeconds"].as_u64().unwrap_or(10));
            let mut answered = deployment.text(PORT, path, &[]);
            for _ in 1..attempts {
                if answered.is_ok() {
                    break;
                }
                deployment.interrupts.pause(period)?;
                answered = deployment.text(PORT, path, &[]);
            }
            answered.with_context(|| format!("its {name} failed {attempts} times"))?;
        }
        Ok(())
    }

    /// Ends it as Kubernetes does, in the time that its manifest gives it.
    fn stop(&self, deployment: &Deployment<'_>) -> Result<()> {
        let grace = self.spec["terminationGracePeriodSeconds"].to_string();
        deployment.engine(&["stop", "--time", &grace, NAME])?;
        self.ended(deployment)
    }

    /// Waits until it has ended, which has to be well.
    fn ended(&self, deployment: &Deployment<'_>) -> Result<()> {
        let code = deployment.until("the end of the container", || {
            let mut inspect = Command::new(&deployment.engine.program);
            let format = "{{.State.Status}} {{.State.ExitCode}}";
            let state = output(inspect.args(["inspect", "--format", format, NAME]))?;
            let code = state.trim().strip_prefix("exited ").map(str::to_owned);
            code.with_context(|| format!("it is {}", state.trim()))
        })?;
        ensure!(code == "0", "it ended with {code}");
        Ok(())
    }
}

/// The documents of a file of YAML.
fn documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", path.display()))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}
