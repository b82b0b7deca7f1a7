//! The servers that are rolled out. Each answers `/sleep/MS/N` and `/poll/MS/N` after so many milliseconds,
//! and `/stream/MS/N` with a piece each 250 ms: `load::expected` has the bodies.
//!
//! Some are asked over TLS, over HTTP/2, or over a Unix socket: [`Server::wire`].
//!
//! Those that run an application (python, node, gunicorn, php, java) spend the time in a handler of their
//! own; unless the server itself knows a graceful stop (gunicorn), none has a word about signals in it:
//! these are the apps that an init has to be good for. nginx and httpd cannot wait: they pass the request
//! on to [`Backend`], as in front of an application.

use std::path::PathBuf;
use std::process::Command;

use super::Slot;
use super::backend::Backend;
use crate::ensure;
use crate::support::Outcome;
use crate::support::files::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Nginx,
    Node,
    Python,
    Httpd,
    Gunicorn,
    Java,
    Php,
    NodeTls,
    PythonTls,
    NodeHttp2,
    Grpc,
    Fpm,
    Uwsgi,
    GunicornUnix,
    GunicornSync,
}

/// How a balancer speaks to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1
    Plain,
    /// The same over TLS.
    Tls,
    /// HTTP/2, from the first byte on.
    Http2,
    /// Over a Unix socket, with this word of nginx: `proxy`, `fastcgi`, `uwsgi`.
    Unix(&'static str),
}

pub(crate) const SERVERS: [Server; 15] = [
    Server::Nginx,
    Server::Node,
    Server::Python,
    Server::Httpd,
    Server::Gunicorn,
    Server::Java,
    Server::Php,
    Server::NodeTls,
    Server::PythonTls,
    Server::NodeHttp2,
    Server::Grpc,
    Server::Fpm,
    Server::Uwsgi,
    Server::GunicornUnix,
    Server::GunicornSync,
];

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Nginx => "nginx",
            Server::Node => "node",
            Server::Python => "python",
            Server::Httpd => "httpd",
            Server::Gunicorn => "gunicorn",
            Server::Java => "java",
            Server::Php => "php",
            Server::NodeTls => "node-tls",
            Server::PythonTls => "py-tls",
            Server::NodeHttp2 => "node-h2",
            Server::Grpc => "grpc",
            Server::Fpm => "fpm-unix",
            Server::Uwsgi => "uwsgi-unix",
            Server::GunicornUnix => "guni-unix",
            Server::GunicornSync => "guni-sync",
        }
    }

    pub(crate) fn program(self) -> String {
        let path = match self {
            Server::Nginx => "/usr/sbin/nginx",
            Server::Node | Server::NodeTls | Server::NodeHttp2 => "/usr/bin/node",
            // Debian's, whatever else is on the path.
            Server::Python | Server::PythonTls => "/usr/bin/python3",
            Server::Httpd => "/usr/sbin/apache2",
            Server::Gunicorn | Server::GunicornUnix | Server::GunicornSync => "/usr/bin/gunicorn",
            Server::Java => "/usr/bin/java",
            Server::Php => "/usr/bin/php",
            Server::Uwsgi => "/usr/bin/uwsgi-core",
            Server::Grpc => PYPI,
            Server::Fpm => return fpm(),
        };
        path.to_owned()
    }

    pub(crate) fn wire(self) -> Wire {
        match self {
            Server::NodeTls | Server::PythonTls => Wire::Tls,
            Server::NodeHttp2 | Server::Grpc => Wire::Http2,
            Server::Fpm => Wire::Unix("fastcgi"),
            Server::Uwsgi => Wire::Unix("uwsgi"),
            Server::GunicornUnix | Server::GunicornSync => Wire::Unix("proxy"),
            _ => Wire::Plain,
        }
    }

    /// graceinit's profile for it, where there is one (docs/profiles.md).
    pub(crate) fn profile(self) -> Option<&'static str> {
        match self {
            Server::Nginx => Some("nginx"),
            Server::Node | Server::NodeTls | Server::NodeHttp2 => Some("node"),
            Server::Httpd => Some("httpd"),
            Server::Gunicorn | Server::GunicornUnix | Server::GunicornSync => Some("gunicorn"),
            Server::Java => Some("jvm"),
            Server::Fpm => Some("php-fpm"),
            Server::Python | Server::PythonTls | Server::Php | Server::Uwsgi | Server::Grpc => None,
        }
    }

    /// The stop signal of the official image where TERM is not the graceful one.
    pub(crate) fn image_signal(self) -> Option<i32> {
        match self {
            Server::Nginx | Server::Fpm => Some(libc::SIGQUIT),
            Server::Httpd => Some(libc::SIGWINCH),
            _ => None,
        }
    }
}

/// What the servers of one run need: files, and something behind the proxies.
pub(crate) struct Site {
    pub(crate) place: Place,
    server: Server,
    backend: Backend,
}

/// Debian's has its version in its name.
fn fpm() -> String {
    let dir = std::fs::read_dir("/usr/sbin").into_iter().flatten().flatten();
    let names = dir.filter_map(|entry| entry.file_name().into_string().ok());
    let fpm = names.filter(|name| name.starts_with("php-fpm")).max();
    format!("/usr/sbin/{}", fpm.as_deref().unwrap_or("php-fpm"))
}

/// The Python with what `tests/run` installs from PyPI.
pub(crate) const PYPI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");

const MODULES: &str = "/usr/lib/apache2/modules";

impl Site {
    pub(crate) fn new(server: Server) -> Outcome<Site> {
        let site = Site { place: Place::new(), server, backend: Backend::start()? };
        match server {
            Server::Python | Server::PythonTls => {
                site.source("server.py", include_str!("apps/server.py"));
            }
            Server::Node | Server::NodeTls | Server::NodeHttp2 => {
                site.source("server.js", include_str!("apps/server.js"));
            }
            Server::Gunicorn | Server::GunicornUnix | Server::GunicornSync | Server::Uwsgi => {
                site.source("wsgi.py", include_str!("apps/wsgi.py"));
            }
            Server::Php | Server::Fpm => {
                site.source("router.php", include_str!("apps/router.php"));
            }
            Server::Grpc => site.source("calls.py", include_str!("apps/calls.py")),
            Server::Java => site.compile()?,
            Server::Nginx | Server::Httpd => {}
        }
        if server.wire() == Wire::Tls {
            site.certify()?;
        }
        Ok(site)
    }

    /// A certificate for the servers that speak TLS.
    fn certify(&self) -> Outcome {
        let [key, certificate] = ["key.pem", "cert.pem"].map(|name| self.place.text(name));
        let done = Command::new("/usr/bin/openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(' '))
            .args(["-days", "9", "-subj", "/CN=localhost", "-keyout", &key, "-out", &certificate])
            .output()?;
        ensure!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Where a server listens that is asked over a Unix socket.
    pub(crate) fn socket(&self, slot: Slot) -> PathBuf {
        self.place.path(&format!("{}.sock", slot.port))
    }

    fn source(&self, name: &str, text: &str) {
        self.place.file(name, text, 0o644);
    }

    /// Once, so that no replica is slow to start for it.
    fn compile(&self) -> Outcome {
        self.source("Compile.java", include_str!("apps/Compile.java"));
        self.source("App.java", include_str!("apps/App.java"));
        let [compiler, dir, app] =
            ["Compile.java", ".", "App.java"].map(|name| self.place.text(name));
        let done =
            Command::new(Server::Java.program()).args([&compiler, "-d", &dir, &app]).output()?;
        ensure!(done.status.success(), "App.java: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// The command of a replica.
    pub(crate) fn command(&self, slot: Slot) -> Outcome<Vec<String>> {
        let Slot { ip, port, .. } = slot;
        let at = slot.address().to_string();
        let socket = self.socket(slot).display().to_string();
        let file = |name: &str| self.place.text(name);
        let program = self.server.program();
        let source = |name: &str| vec![file(name), ip.to_string(), port.to_string()];
        let words: Vec<String> = match self.server {
            Server::Python => source("server.py"),
            Server::PythonTls => {
                [source("server.py"), vec![file("cert.pem"), file("key.pem")]].concat()
            }
            Server::Node => source("server.js"),
            Server::NodeTls => {
                [source("server.js"), vec!["tls".into(), file("cert.pem"), file("key.pem")]]
                    .concat()
            }
            Server::Grpc => source("calls.py"),
            Server::NodeHttp2 => [source("server.js"), vec!["h2".into()]].concat(),
            Server::Nginx => vec!["-c".into(), self.nginx(port)?],
            Server::Httpd => vec!["-DFOREGROUND".into(), "-f".into(), self.httpd(port)?],
            Server::Fpm => vec!["-nRFy".into(), self.fpm(port, &socket)?],
            Server::Uwsgi => {
                // It answers one request at a time in each thread.
                let options = "--plugin python3 --master --die-on-term --processes 4 --threads 32 \
                               --listen 1024 --disable-logging --module wsgi:app --chmod-socket=666 --chdir";
                let options = options.split_whitespace().map(String::from);
                options.chain([file("."), "--socket".into(), socket]).collect()
            }
            Server::GunicornUnix => {
                let options = "--worker-class gthread --workers 2 --threads 48 --worker-tmp-dir /dev/shm \
                               --umask 0 wsgi:app --chdir";
                let options = options.split_whitespace().map(String::from);
                options.chain([file("."), "--bind".into(), format!("unix:{socket}")]).collect()
            }
            Server::GunicornSync => {
                // Its default kind of worker answers one request at a time: while all are busy, connections wait to be
                // accepted. Its documentation advises two to four for each processor.
                let options = "--workers 4 --worker-tmp-dir /dev/shm --umask 0 wsgi:app --chdir";
                let options = options.split_whitespace().map(String::from);
                options.chain([file("."), "--bind".into(), format!("unix:{socket}")]).collect()
            }
            // A keep-alive longer than the balancer's, as everybody is advised to set it behind one.
            Server::Gunicorn => {
                let options = "--worker-class gthread --workers 2 --threads 48 --keep-alive 300 \
                               --worker-tmp-dir /dev/shm wsgi:app --chdir";
                let options = options.split_whitespace().map(String::from);
                options.chain([file("."), "--bind".into(), at]).collect()
            }
            Server::Java => {
                // As small as a JVM gets; UsePerfData would have a file in /tmp named after the pid, which
                // is the same in every pid namespace.
                let options = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData \
                     -Dsun.net.httpserver.idleInterval=300 -Dsun.net.httpserver.nodelay=true -cp";
                let options = options.split_whitespace().map(String::from);
                options.chain([file("."), "App".into(), port.to_string()]).collect()
            }
            Server::Php => vec!["-S".into(), at, file("router.php")],
        };
        Ok([program].into_iter().chain(words).collect())
    }

    /// `NAME=VALUE` for the replica's environment.
    pub(crate) fn environment(&self) -> &'static [(&'static str, &'static str)] {
        match self.server {
            // Each serves one request at a time.
            Server::Php => &[("PHP_CLI_SERVER_WORKERS", "24")],
            _ => &[],
        }
    }

    fn fpm(&self, port: u16, socket: &str) -> Outcome<String> {
        let text = format!(
            "[global]\nerror_log=/proc/self/fd/2\ndaemonize=no\n\
             [www]\nuser=root\ngroup=root\nlisten={socket}\nlisten.mode=0666\n\
             pm=static\npm.max_children=64\n"
        );
        self.folder(port)?;
        self.configuration(port, &text)
    }

    fn nginx(&self, port: u16) -> Outcome<String> {
        let (dir, backend) = (self.folder(port)?, self.backend.address);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
            .collect();
        let text = format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log stderr warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_timeout 300; keepalive_requests 1000000; {temporary}\n\
             upstream backend {{ server {backend}; keepalive 512; keepalive_timeout 300; }}\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off;\n\
             proxy_pass http://backend; }} }} }}\n"
        );
        self.configuration(port, &text)
    }

    fn httpd(&self, port: u16) -> Outcome<String> {
        let (dir, backend) = (self.folder(port)?, self.backend.address);
        let modules: String = ["mpm_event", "authz_core", "proxy", "proxy_http"]
            .iter()
            .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
            .collect();
        let text = format!(
            "ServerRoot {dir}\nServerName x\nPidFile {dir}/pid\nDefaultRuntimeDir {dir}\n\
             Listen 127.0.0.1:{port}\nListenBacklog 4096\n{modules}ErrorLog /proc/self/fd/2\n\
             User www-data\nGroup www-data\nKeepAliveTimeout 300\nMaxKeepAliveRequests 0\n\
             StartServers 2\nThreadsPerChild 64\nMaxRequestWorkers 256\n\
             ProxyPass / http://{backend}/ flushpackets=on\n"
        );
        self.configuration(port, &text)
    }

    /// A folder for one replica, open to every user.
    fn folder(&self, port: u16) -> Outcome<String> {
        let dir = self.place.path(&format!("replica-{port}"));
        std::fs::create_dir_all(&dir)?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&dir, open)?;
        Ok(dir.display().to_string())
    }

    fn configuration(&self, port: u16, text: &str) -> Outcome<String> {
        let name = format!("replica-{port}/conf");
        self.place.file(&name, text, 0o644);
        Ok(self.place.text(&name))
    }
}
