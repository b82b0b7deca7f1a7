// Node's own server, and nothing said about signals: TERM ends it at once. server.js IP PORT [tls CERT KEY | h2]
const fs = require("node:fs");

const [ip, port, kind, cert, key] = process.argv.slice(2);
const handler = (request, response) => {
  const [, kind, ms] = request.url.split("/");
  const done = `${request.url} done\n`;
  const pause = { stream: 250, tokens: 3000 }[kind];
  if (!pause) {
    setTimeout(() => response.end(done), Number(ms));
    return;
  }
  if (response.flushHeaders) response.flushHeaders();
  let piece = 0;
  const timer = setInterval(() => {
    piece += 1;
    response.write(`piece ${piece}\n`);
    if (piece === Math.floor(Number(ms) / pause)) {
      clearInterval(timer);
      response.end(done);
    }
  }, pause);
};
const servers = {
  tls: () => require("node:https").createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, handler),
  h2: () => require("node:http2").createServer(handler),
};
const server = kind ? servers[kind]() : require("node:http").createServer(handler);
// Longer than the balancer keeps a connection, as everybody is advised to set it behind one.
server.keepAliveTimeout = 300_000;
server.listen(Number(port), ip, 4096);
