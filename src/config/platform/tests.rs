use super::*;

/// The platform that is found with these variables and files, by which marker.
fn found(own: i32, variables: &[(&str, &str)], files: &[&CStr]) -> (&'static str, &'static str) {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_bytes())
    };
    let Detected { platform, by, .. } =
        Detected::find(Pid(own), variable, |path| files.contains(&path));
    (platform.name, by)
}

const DOCKERENV: &CStr = c"/.dockerenv";

#[test]
fn each_platform_is_found_by_its_markers() {
    for (variables, files, want) in [
        (&[("AWS_LAMBDA_FUNCTION_NAME", "f")][..], &[][..], "lambda"),
        (&[("FLY_MACHINE_ID", "1")], &[], "fly"),
        (&[("FLY_APP_NAME", "a")], &[], "fly"),
        (&[("RAILWAY_ENVIRONMENT_NAME", "production")], &[], "railway"),
        (&[("RAILWAY_ENVIRONMENT_ID", "1")], &[], "railway"),
        (
            &[("CONTAINER_APP_NAME", "a"), ("KUBERNETES_SERVICE_HOST", "1")],
            &[],
            "azure-container-apps",
        ),
        (&[("RENDER", "true")], &[], "render"),
        (&[("RENDER", "false")], &[], "none"),
        (&[("SCALINGO_APPLICATION_ID", "1")], &[], "scalingo"),
        (&[("NOMAD_ALLOC_ID", "1")], &[DOCKERENV], "nomad"),
        (&[("ECS_CONTAINER_METADATA_URI_V4", "http://x")], &[DOCKERENV], "ecs"),
        (&[("ECS_CONTAINER_METADATA_URI", "http://x")], &[DOCKERENV], "ecs"),
        (
            &[("WEBSITE_INSTANCE_ID", "1"), ("WEBSITE_SITE_NAME", "a")],
            &[DOCKERENV],
            "azure-app-service",
        ),
        (&[("WEBSITE_SITE_NAME", "a")], &[DOCKERENV], "docker"),
        (&[("DYNO", "web.1")], &[DOCKERENV], "dokku"),
        (&[("DYNO", "web.1")], &[], "heroku"),
        (&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], &[DOCKERENV], "kubernetes"),
        // Knative
        (
            &[("KUBERNETES_SERVICE_HOST", "1"), ("K_SERVICE", "a"), ("K_REVISION", "b")],
            &[],
            "kubernetes",
        ),
        (&[("VCAP_APPLICATION", "{}"), ("CF_INSTANCE_GUID", "1")], &[], "cloud-foundry"),
        (&[("GAE_SERVICE", "a"), ("GAE_INSTANCE", "b")], &[], "app-engine"),
        (&[("K_SERVICE", "a"), ("K_REVISION", "b")], &[], "cloud-run"),
        (&[("CLOUD_RUN_JOB", "a")], &[], "cloud-run"),
        (&[("CLOUD_RUN_WORKER_POOL", "a")], &[], "cloud-run"),
        (&[("container", "lxc")], &[c"/dev/incus"], "incus"),
        (&[("container", "lxc")], &[], "lxc"),
        (&[("container", "systemd-nspawn")], &[], "nspawn"),
        (&[("container", "podman")], &[], "podman"),
        (&[], &[c"/run/.containerenv"], "podman"),
        (&[], &[DOCKERENV], "docker"),
        (&[("SYSTEMD_EXEC_PID", "42")], &[], "systemd"),
        // Inherited by a child of the unit.
        (&[("SYSTEMD_EXEC_PID", "41"), ("INVOCATION_ID", "1")], &[], "none"),
        (&[], &[], "none"),
    ] {
        assert_eq!(found(42, variables, files).0, want, "{variables:?} {files:?}");
    }
    assert_eq!(found(42, &[("FLY_APP_NAME", "a")], &[]).1, "FLY_APP_NAME");
    assert_eq!(found(1, &[], &[DOCKERENV]), ("docker", "/.dockerenv"));
}

#[test]
fn without_a_platform_pid_1_expects_a_kill_and_another_process_does_not() {
    let times = |own| {
        let Detected { platform, .. } = Detected::find(Pid(own), |_| None, |_| false);
        let contract = Contract::usual(platform);
        (contract.grace(), contract.post_stop(), contract.to_string())
    };
    let seconds = Duration::from_secs;
    let first = "for PID 1: a kill after 10s is assumed".to_owned();
    assert_eq!(times(1), (seconds(7), seconds(2), first));
    assert_eq!(times(42), (seconds(15), seconds(5), "outside containers".to_owned()));
}

/// Grace and post-stop fit into every time, with room for the kill, and most of the time is the app's.
#[test]
fn the_defaults_fit_and_use_the_time() {
    for platform in all() {
        let usual = platform.kill.filter(|usual| !usual.is_zero());
        let seconds = [1, 2, 5, 7, 10, 11, 30, 45, 60, 90, 300, 3600].map(Duration::from_secs);
        let named = ["300ms", "2.5s"].map(|text| parse::duration(text).expect("a time"));
        for kill in usual.into_iter().chain(named).chain(seconds) {
            let contract = Contract { platform, kill: Some(kill) };
            let (grace, post_stop) = (contract.grace(), contract.post_stop());
            let name = platform.name;
            assert!(!grace.is_zero() && !post_stop.is_zero(), "{name}:{kill:?}");
            assert!(grace + post_stop <= kill * 9 / 10, "{name}:{kill:?}: {grace:?} {post_stop:?}");
            // Kubernetes leaves room for a preStop. systemd's default is less than half on many distributions.
            let least = match name {
                "kubernetes" => 49,
                "systemd" if Some(kill) == usual => 38,
                "nspawn" | "lambda" => 63,
                _ => 69,
            };
            assert!(grace >= kill * least / 100, "{name}:{kill:?}: {grace:?}");
        }
    }
}

#[test]
fn every_name_means_one_platform() {
    let mut names = std::collections::BTreeSet::new();
    for platform in all() {
        for name in platform.also.iter().chain([&platform.name]) {
            assert!(names.insert(*name), "{name} is there twice");
            assert_eq!(by_name(name), Some(platform), "{name}");
        }
    }
    assert_eq!(by_name("K8S").map(|platform| platform.name), Some("kubernetes"));
    assert_eq!(by_name("auto"), None);
}
