//! Servers as the main process, or behind the scripts that are made for them.

use super::shape::Proof::{Answer, Code, Gone, Line};
use super::shape::{Request, SHAPE, Shape, Sign, Step};

/// One worker at a socket in the shape's directory. A download of `body`, which the entry script makes, takes 1.5 s.
pub(super) const NGINX_CONF: &str = "daemon off; user root root; worker_processes 1;
pid @D@/nginx.pid; error_log stderr notice;
events { worker_connections 64; }
http { access_log off; client_body_temp_path @D@/body.t; proxy_temp_path @D@/proxy.t;
fastcgi_temp_path @D@/fcgi.t; uwsgi_temp_path @D@/uwsgi.t; scgi_temp_path @D@/scgi.t;
server { listen unix:@D@/http.sock; root @D@; location / { limit_rate 16k; } } }
";

const GUNICORN: Shape = Shape {
    needs: &["/usr/bin/gunicorn"],
    command: &["gunicorn", "--worker-tmp-dir", ".", "-b", "unix:http.sock", "web:app"],
    ready: &[Sign::File("working")],
    request: Some(Request::Unix("http.sock")),
    saved: &[Answer, Line("Shutting down: Master")],
    asked: Some("Handling signal: term"),
    ..SHAPE
};

pub(super) const SHAPES: &[Shape] = &[
    Shape { id: "plain", name: "python, alone", command: &["./app.py"], ..SHAPE },
    Shape {
        id: "node",
        name: "node, alone",
        needs: &["/usr/bin/node"],
        command: &["node", "app.js"],
        ..SHAPE
    },
    Shape {
        id: "java",
        name: "java, alone",
        needs: &["/usr/bin/java"],
        command: &["java", "App.java"],
        ..SHAPE
    },
    Shape { id: "pool", name: "a python pool", command: &["./pool.py"], ..SHAPE },
    Shape {
        id: "celery",
        name: "celery with a task of 1 s",
        needs: &["/usr/bin/celery"],
        command: &["celery", "-A", "tasks", "worker", "-c", "2"],
        asked: Some("shutdown (MainProcess)"),
        ..SHAPE
    },
    Shape { id: "gunicorn", name: "gunicorn, a request under way", ..GUNICORN },
    Shape {
        id: "gunicorn_hup",
        name: "gunicorn told to reload (HUP), a request under way",
        send: &[
            Step::Send("HUP"),
            Step::Until(Some(Sign::File("answered")), 3000),
            Step::Send("TERM"),
        ],
        ..GUNICORN
    },
    Shape {
        id: "apache2ctl",
        name: "`apache2ctl -D FOREGROUND` stopped with WINCH, a download under way",
        needs: &["/usr/sbin/apache2ctl", "/usr/sbin/apache2"],
        files: &[("entry", APACHE2CTL), ("httpd.conf", HTTPD_CONF), ("envvars", "")],
        ready: &[Sign::File("httpd.pid")],
        request: Some(Request::Tcp),
        send: &[Step::Send("WINCH")],
        saved: &[Answer, Gone("httpd.pid")],
        ..SHAPE
    },
    Shape {
        id: "varnishd",
        name: "varnishd",
        needs: &["/usr/sbin/varnishd"],
        command: &[
            "varnishd",
            "-F",
            "-j",
            "none",
            "-n",
            "@D@/v",
            "-a",
            "@D@/http.sock",
            "-b",
            "none",
        ],
        ready: &[Sign::File("http.sock"), Sign::Line("Child starts")],
        saved: &[Code(0)],
        ..SHAPE
    },
    Shape {
        id: "postfix",
        name: "`postfix start-fg`, a delivery to a command under way",
        needs: &["/usr/sbin/postfix", "/usr/bin/python3"],
        files: &[("entry", POSTFIX), ("aliases", "app \"|@D@/app.py\"\n")],
        ..SHAPE
    },
    Shape {
        id: "cron",
        name: "`cron -f`, a job under way",
        needs: &["/usr/sbin/cron", "/usr/bin/python3"],
        files: &[("entry", CRON), ("crontab", "@reboot root @D@/app.py\n")],
        ..SHAPE
    },
    Shape {
        id: "sshd",
        name: "`sshd -D`, a command under way",
        needs: &["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/python3"],
        files: &[("entry", SSHD), ("visitor", SSH)],
        visitor: Some("visitor"),
        ..SHAPE
    },
];

const APACHE2CTL: &str = "#!/bin/sh
{ seq 7000; echo whole; } >body
export APACHE_ENVVARS=@D@/envvars APACHE_RUN_DIR=@D@ APACHE_LOCK_DIR=@D@ APACHE_RUN_USER=www-data
exec apache2ctl -f @D@/httpd.conf -D FOREGROUND
";
/// A download of `body` takes 1.5 s.
const HTTPD_CONF: &str = "ServerRoot @D@
ServerName x
PidFile @D@/httpd.pid
DefaultRuntimeDir @D@
Listen 127.0.0.1:@PORT@
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule env_module /usr/lib/apache2/modules/mod_env.so
LoadModule ratelimit_module /usr/lib/apache2/modules/mod_ratelimit.so
User www-data
Group www-data
ErrorLog /proc/self/fd/2
DocumentRoot @D@
SetOutputFilter RATE_LIMIT
SetEnv rate-limit 16
";

/// With a queue of its own. The one who hands in the mail has gone when the app is ready.
const POSTFIX: &str = "#!/bin/sh
mkdir queue data
cp -r /etc/postfix conf
chown postfix data
postconf -c @D@/conf queue_directory=@D@/queue data_directory=@D@/data maillog_file=/dev/stdout \\
    inet_interfaces=loopback-only mydestination=localhost myhostname=localhost \\
    alias_maps=texthash:@D@/aliases
postconf -c @D@/conf -MX smtp/inet
{ until [ -S queue/public/pickup ]; do sleep 0.1; done
  echo hello | sendmail -C @D@/conf app@localhost; } &
exec postfix -c @D@/conf start-fg
";

/// Jobs of @reboot start at once, where no cron has been since the start of the machine.
const CRON: &str = "#!/bin/sh
mkdir run none
mount --bind run /run
mount --bind crontab /etc/crontab
mount --bind none /etc/cron.d
mount --bind none /var/spool/cron/crontabs
exec cron -f
";

const SSHD: &str = "#!/bin/sh
mkdir run run/sshd
mount --bind run /run
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f key
exec /usr/sbin/sshd -D -e -f /dev/null -o HostKey=@D@/host -o AuthorizedKeysFile=@D@/key.pub \\
    -o ListenAddress=127.0.0.1 -o Port=@PORT@ -o StrictModes=no -o PidFile=@D@/sshd.pid \\
    -o PermitRootLogin=yes -o UsePAM=no
";
const SSH: &str = "#!/bin/sh
until [ -e sshd.pid ]; do sleep 0.1; done
exec ssh -F none -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes \\
    -p @PORT@ root@127.0.0.1 @D@/app.py
";
