//! nginx before servers on Unix sockets. It takes the next one where a socket is not there, or nothing listens on it. It
//! repeats a GET that a server did not begin to answer, and no POST.

use std::net::SocketAddrV4;

use super::apps::Wire;
use super::balancer::Front;

pub(super) const PROGRAM: &str = "/usr/sbin/nginx";

/// Its configuration. One process, so that none is left when it is killed; it is root, and can open every socket.
pub(super) fn config(listen: SocketAddrV4, front: &Front<'_>) -> String {
    let Wire::Unix(word) = front.wire else { return String::new() };
    let dir = front.site.place.path("front");
    drop(std::fs::create_dir_all(&dir));
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
        .collect();
    let servers: String = front
        .slots
        .iter()
        .map(|slot| format!("server unix:{} max_fails=0;\n", front.site.socket(*slot).display()))
        .collect();
    let parameters = match word {
        "fastcgi" => format!(
            "fastcgi_param SCRIPT_FILENAME {}; fastcgi_param REQUEST_METHOD $request_method; \
             fastcgi_param REQUEST_URI $request_uri;",
            front.site.place.text("router.php")
        ),
        "uwsgi" => "uwsgi_param REQUEST_METHOD $request_method; uwsgi_param REQUEST_URI $request_uri; \
             uwsgi_param PATH_INFO $document_uri; uwsgi_param SERVER_NAME x; uwsgi_param SERVER_PORT 80; \
             uwsgi_param SERVER_PROTOCOL HTTP/1.1;"
            .to_owned(),
        _ => "proxy_http_version 1.1;".to_owned(),
    };
    let scheme = if word == "proxy" { "http://" } else { "" };
    format!(
        "daemon off; master_process off; worker_rlimit_nofile 40000; pid {dir}/pid; error_log stderr crit;\n\
         events {{ worker_connections 16000; }}\n\
         http {{ access_log off; {temporary}\n\
         upstream back {{ {servers} }}\n\
         server {{ listen {listen} backlog=4096; location / {{\n\
         {word}_buffering off; {word}_pass {scheme}back; {parameters} }} }} }}\n"
    )
}
