// Node's own server, and nothing said about signals: TERM ends it at once.
const http = require("node:http");

const server = http.createServer((request, response) => {
  const [, kind, ms] = request.url.split("/");
  const done = `${request.url} done\n`;
  if (kind !== "stream") {
    setTimeout(() => response.end(done), Number(ms));
    return;
  }
  let piece = 0;
  const timer = setInterval(() => {
    piece += 1;
    response.write(`piece ${piece}\n`);
    if (piece === Math.floor(Number(ms) / 250)) {
      clearInterval(timer);
      response.end(done);
    }
  }, 250);
});
// Longer than the balancer keeps a connection, as everybody is advised to set it behind one.
server.keepAliveTimeout = 300_000;
server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
