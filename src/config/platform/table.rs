//! The table of platforms. docs/platforms.md has the reason and the reference for each number; a test compares both.

use std::time::Duration;

use super::{Marker, Platform};

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// Is there such a variable, whatever its value?
const fn set(name: &'static str) -> Marker {
    Marker::Set(name)
}

/// A platform that kills after `kill`. The rest of a row is what is special about it.
const fn row(
    name: &'static str,
    title: &'static str,
    markers: &'static [&'static [Marker]],
    kill: Duration,
    times: (Duration, Duration),
) -> Platform {
    Platform {
        name,
        title,
        also: &[],
        markers,
        kill: Some(kill),
        grace: times.0,
        post_stop: times.1,
        shares: None,
        seconds: None,
        most: None,
        stops: "",
        killer: "",
        longer: None,
        warning: None,
        no_drain: None,
        logs_json: false,
    }
}

/// Where 30 s are given.
const OF_30: (Duration, Duration) = (seconds(22), seconds(5));
/// Where 10 s are given.
const OF_10: (Duration, Duration) = (seconds(7), seconds(2));
/// Where 5 s are given.
const OF_5: (Duration, Duration) = (ms(3500), seconds(1));

const DOCKER_FILE: Marker = Marker::File(c"/.dockerenv", "/.dockerenv");

/// In the order in which their markers are looked for: a platform that runs on another one comes before it.
pub(super) static PLATFORMS: [Platform; 21] = [
    Platform {
        also: &["aws-lambda"],
        killer: "Lambda kills the runtime",
        warning: Some(
            "Lambda gives a stop 0.3 s, at most 2 s, and sends TERM only if the function has an extension: \
             do nothing in a stop that must be done",
        ),
        ..row(
            "lambda",
            "AWS Lambda",
            &[&[set("AWS_LAMBDA_FUNCTION_NAME")]],
            ms(300),
            (ms(200), ms(50)),
        )
    },
    Platform {
        also: &["fly.io", "flyio"],
        killer: "Fly.io stops the machine",
        longer: Some("kill_timeout = {} in fly.toml"),
        ..row(
            "fly",
            "Fly.io",
            &[&[set("FLY_MACHINE_ID")], &[set("FLY_APP_NAME")]],
            seconds(5),
            OF_5,
        )
    },
    Platform {
        // A fifth is left: the time is counted by another host.
        shares: Some((70, 10)),
        seconds: Some("RAILWAY_DEPLOYMENT_DRAINING_SECONDS"),
        killer: "Railway kills the container",
        longer: Some("RAILWAY_DEPLOYMENT_DRAINING_SECONDS={}"),
        ..row(
            "railway",
            "Railway",
            &[&[set("RAILWAY_ENVIRONMENT_NAME")], &[set("RAILWAY_ENVIRONMENT_ID")]],
            Duration::ZERO,
            (seconds(1), ms(500)),
        )
    },
    Platform {
        also: &["aca", "container-apps"],
        killer: "Azure Container Apps kills the container (terminationGracePeriodSeconds)",
        longer: Some("terminationGracePeriodSeconds: {}"),
        logs_json: true,
        ..row(
            "azure-container-apps",
            "Azure Container Apps",
            &[&[set("CONTAINER_APP_NAME")]],
            seconds(30),
            OF_30,
        )
    },
    Platform {
        most: Some(seconds(300)),
        killer: "Render kills the instance",
        longer: Some("maxShutdownDelaySeconds: {}"),
        ..row("render", "Render", &[&[Marker::Is("RENDER", "true")]], seconds(30), OF_30)
    },
    Platform {
        killer: "Scalingo kills the container",
        ..row("scalingo", "Scalingo", &[&[set("SCALINGO_APPLICATION_ID")]], seconds(30), OF_30)
    },
    Platform {
        killer: "Nomad kills the task (kill_timeout)",
        longer: Some("kill_timeout = \"{}s\""),
        ..row("nomad", "Nomad", &[&[set("NOMAD_ALLOC_ID")]], seconds(5), OF_5)
    },
    Platform {
        also: &["fargate", "amazon-ecs", "aws-ecs"],
        killer: "Amazon ECS kills the container (stopTimeout)",
        longer: Some("\"stopTimeout\": {}"),
        ..row(
            "ecs",
            "Amazon ECS",
            &[&[set("ECS_CONTAINER_METADATA_URI_V4")], &[set("ECS_CONTAINER_METADATA_URI")]],
            seconds(30),
            OF_30,
        )
    },
    Platform {
        also: &["app-service"],
        seconds: Some("WEBSITES_CONTAINER_STOP_TIME_LIMIT"),
        most: Some(seconds(120)),
        killer: "Azure App Service kills the container",
        longer: Some("WEBSITES_CONTAINER_STOP_TIME_LIMIT={}"),
        ..row(
            "azure-app-service",
            "Azure App Service",
            &[&[set("WEBSITE_INSTANCE_ID"), set("WEBSITE_SITE_NAME")]],
            seconds(5),
            OF_5,
        )
    },
    Platform {
        killer: "Dokku kills the container (stop-timeout-seconds)",
        longer: Some("dokku ps:set APP stop-timeout-seconds {}"),
        ..row("dokku", "Dokku", &[&[set("DYNO"), DOCKER_FILE]], seconds(30), OF_30)
    },
    Platform {
        also: &["k8s", "openshift", "knative", "gke", "eks", "aks", "k3s"],
        killer: "the kubelet kills the container (terminationGracePeriodSeconds)",
        longer: Some("terminationGracePeriodSeconds: {}"),
        logs_json: true,
        // Half: a preStop takes from the same time, and many pods have a shorter period.
        ..row(
            "kubernetes",
            "Kubernetes",
            &[&[set("KUBERNETES_SERVICE_HOST")]],
            seconds(30),
            (seconds(15), seconds(5)),
        )
    },
    Platform {
        also: &["cf", "cloudfoundry"],
        killer: "Cloud Foundry kills the container",
        ..row(
            "cloud-foundry",
            "Cloud Foundry",
            &[&[set("VCAP_APPLICATION"), set("CF_INSTANCE_GUID")]],
            seconds(10),
            OF_10,
        )
    },
    Platform {
        also: &["gae", "appengine"],
        killer: "App Engine kills the instance",
        ..row(
            "app-engine",
            "App Engine",
            &[&[set("GAE_SERVICE"), set("GAE_INSTANCE")]],
            seconds(30),
            OF_30,
        )
    },
    Platform {
        also: &["cloudrun"],
        killer: "Cloud Run kills the container",
        ..row(
            "cloud-run",
            "Cloud Run",
            &[
                &[set("K_SERVICE"), set("K_REVISION")],
                &[set("CLOUD_RUN_JOB")],
                &[set("CLOUD_RUN_WORKER_POOL")],
            ],
            seconds(10),
            OF_10,
        )
    },
    Platform {
        killer: "Heroku kills the dyno",
        no_drain: Some(
            "Heroku sends TERM to every process of a dyno, so the app stops at once and cannot be drained",
        ),
        // With /.dockerenv it is Dokku, which comes before.
        ..row("heroku", "Heroku", &[&[set("DYNO")]], seconds(30), OF_30)
    },
    Platform {
        stops: "PWR,RTMIN+3",
        killer: "Incus kills the container (boot.host_shutdown_timeout)",
        longer: Some("boot.host_shutdown_timeout: {}"),
        ..row(
            "incus",
            "Incus",
            &[&[Marker::Is("container", "lxc"), Marker::File(c"/dev/incus", "/dev/incus")]],
            seconds(30),
            OF_30,
        )
    },
    Platform {
        also: &["proxmox"],
        stops: "PWR,RTMIN+3",
        killer: "LXC kills the container",
        longer: Some("lxc-stop --timeout {}"),
        ..row(
            "lxc",
            "LXC",
            &[&[Marker::Is("container", "lxc")]],
            seconds(60),
            (seconds(45), seconds(5)),
        )
    },
    Platform {
        also: &["systemd-nspawn"],
        stops: "RTMIN+3,RTMIN+4",
        killer: "systemd kills the machine (TimeoutStopSec)",
        longer: Some("TimeoutStopSec={} of systemd-nspawn@.service"),
        ..row(
            "nspawn",
            "systemd-nspawn",
            &[&[Marker::Is("container", "systemd-nspawn")]],
            seconds(90),
            (seconds(60), seconds(5)),
        )
    },
    Platform {
        also: &["quadlet"],
        stops: "RTMIN+3",
        killer: "Podman kills PID 1",
        longer: Some("podman stop -t {} (StopTimeout= in a Quadlet)"),
        ..row(
            "podman",
            "Podman",
            &[
                &[Marker::Is("container", "podman")],
                &[Marker::File(c"/run/.containerenv", "/run/.containerenv")],
            ],
            seconds(10),
            OF_10,
        )
    },
    Platform {
        also: &["compose", "swarm", "kamal", "coolify"],
        killer: "Docker kills PID 1",
        longer: Some("docker stop -t {} (stop_grace_period in Compose)"),
        ..row("docker", "Docker", &[&[DOCKER_FILE]], seconds(10), OF_10)
    },
    Platform {
        also: &["systemd-unit"],
        // Of the 45 s of Fedora.
        shares: Some((77, 11)),
        killer: "systemd kills the unit (TimeoutStopSec)",
        longer: Some("TimeoutStopSec={}"),
        no_drain: Some(
            "systemd sends TERM to every process of a unit, so the app stops at once and cannot be drained, \
             unless the unit has KillMode=mixed",
        ),
        ..row(
            "systemd",
            "systemd",
            &[&[Marker::OwnPid("SYSTEMD_EXEC_PID")]],
            seconds(90),
            (seconds(35), seconds(5)),
        )
    },
];

/// No platform is known, and graceinit is PID 1: an engine or a service of which it cannot be told which. Most of them
/// kill as Docker does.
pub(super) static FIRST: Platform =
    Platform { killer: "the container is killed", ..row("none", "PID 1", &[], seconds(10), OF_10) };

/// No platform is known, and graceinit is a process beside others.
pub(super) static PLAIN: Platform = Platform {
    kill: None,
    shares: Some((70, 20)),
    killer: "the process is killed",
    ..row("none", "", &[], Duration::ZERO, (seconds(15), seconds(5)))
};
