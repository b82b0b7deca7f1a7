//! Servers of the distribution, unchanged, under the inits.

mod apps;
mod celery;
pub(crate) mod common;
mod envoy;
mod gunicorn;
mod haproxy;
mod httpd;
mod jvm;
mod mysql;
mod nginx;
mod node;
mod pgbench;
mod pgbouncer;
mod php_fpm;
mod postgres;
mod puma;
mod redis;
mod sidekiq;
mod unicorn;
mod uvicorn;
mod uwsgi;
mod vllm;
mod websockets;
